"""Pictures and masks change their size exactly as the released codes' Pillow does it."""

import numpy as np
import pytest
from PIL import Image

from cadformer_d2.data.network_input import NetworkInput
from cadformer_d2.resampling import resize_image, resize_mask, resize_pixels, resize_values

SIZES = [  # from, to: shrunk, enlarged, one axis each way, by one pixel, thin
    ((800, 800), (480, 480)),
    ((1024, 1024), (480, 480)),
    ((300, 217), (480, 480)),
    ((96, 131), (64, 480)),
    ((481, 479), (480, 480)),
    ((1, 700), (96, 96)),
    ((5, 7), (3, 4)),
]


def pillow(array, size, method):
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), method))


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_an_image_is_pillows_to_one_grey_level(old, new):
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    image.setflags(write=False)  # as Pillow hands pixels out
    resized = resize_image(image, new).permute(1, 2, 0).numpy()
    expected = pillow(image, new, Image.Resampling.BILINEAR)
    assert np.abs(resized.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("old", "new"), [*SIZES, ((2000, 900), (96, 96))], ids=str)
def test_without_pytorch_an_image_is_the_same_to_the_last_bit(old, new):
    noise = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    for image in (noise, 255 * (noise > 127).astype(np.uint8)):
        expected = resize_image(image, new).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(resize_pixels(image, new), expected)


@pytest.mark.parametrize(("old", "new"), [*SIZES, ((2000, 900), (96, 96))], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_values_are_averaged_as_pillow_averages_floats(old, new, dtype):
    values = (np.random.default_rng(0).random((3, *old)) * 250).astype(dtype)
    resized = resize_values(values, new)
    assert resized.dtype == np.float32
    expected = [pillow(band.astype(np.float32), new, Image.Resampling.BILINEAR) for band in values]
    np.testing.assert_allclose(resized, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_what_is_not_finite_reaches_only_the_pixels_that_average_it(old, new):
    rng = np.random.default_rng(0)
    values = rng.random((2, *old)).astype(np.float32)
    values[0][rng.random(old) < 0.05] = np.nan
    values[1, -1, -1] = np.inf
    resized = resize_values(values, new)
    expected = np.stack([pillow(band, new, Image.Resampling.BILINEAR) for band in values])
    np.testing.assert_array_equal(np.isfinite(resized), np.isfinite(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(resized[finite], expected[finite], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_a_mask_is_pillows_bit_for_bit(old, new):
    mask = np.random.default_rng(0).integers(0, 2, old, dtype=np.uint8)
    assert (resize_mask(mask, new) == pillow(mask, new, Image.Resampling.NEAREST)).all()


def test_every_cell_of_a_mask_is_read_as_pillow_reads_it():
    """Over many pairs of lengths: the number of the old pixel that each new one takes."""
    lengths = np.random.default_rng(0).integers(1, 2500, (400, 2)).tolist()
    for old, new in [*lengths, (800, 480), (1024, 480), (40000, 480), (480, 9000)]:
        cells = np.arange(old, dtype=np.uint16)[None]
        read = pillow(cells.astype(np.int32), (1, new), Image.Resampling.NEAREST)
        assert (resize_mask(cells, (1, new)) == read).all(), (old, new)


def test_labels_lie_over_what_the_network_is_fed():
    """Bright rectangles and their masks, shrunk: centres agree, over many, to a network pixel's
    thirtieth. Reading the corner's pixel instead of the centre's shifts labels by a third."""
    network_input = NetworkInput(size=(60, 60), tokenizer=None)
    rng, shifts = np.random.default_rng(0), []
    for _ in range(200):
        (top, bottom), (left, right) = (
            np.sort(rng.choice(length, 2, False)) for length in (201, 323)
        )
        mask = np.zeros((221, 343), np.uint8)
        mask[top : bottom + 20, left : right + 20] = 1
        seen = (
            network_input.prepare_image(np.repeat(255 * mask[..., None], 3, axis=2)).mean(0).numpy()
        )
        shifts.append(centre(network_input.prepare_mask(mask)) - centre(seen))
    assert np.abs(np.mean(shifts, axis=0)).max() < 1 / 30


def centre(weights):
    rows, columns = np.indices(weights.shape)
    total = weights.sum(dtype=float)
    return np.array([(rows * weights).sum() / total, (columns * weights).sum() / total])
