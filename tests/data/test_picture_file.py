import cv2
import numpy as np
import pytest
from PIL import Image

from cadformer_d2.data.picture_file import picture_size, read_picture


def test_a_picture_is_read_in_either_order_of_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", "RGB"), pixels)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", "BGR"), pixels[..., ::-1])
    assert picture_size(tmp_path / "a.png") == (5, 7)


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "a.png"), (np.float32, "a.tif")])
def test_values_of_more_than_8_bits_are_refused_and_not_cut(tmp_path, dtype, name):
    Image.fromarray(np.full((4, 4), 300, dtype)).save(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image: .* 8 bits"):
        read_picture(tmp_path / name, "RGB")


def test_colours_of_16_bits_are_refused_and_not_darkened(tmp_path):
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), 300, np.uint16))
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
            read_picture(tmp_path / name, "RGB")


BROKEN = {
    "no image": b"not an image",
    "cut off": None,
    "a broken header": b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDX",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_picture_is_named(tmp_path, kind):
    path = tmp_path / "a.png"
    if BROKEN[kind] is None:
        noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_bytes(BROKEN[kind])
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image"):
        read_picture(path, "RGB")


def test_a_picture_of_too_many_pixels_and_a_missing_one_are_named(tmp_path, monkeypatch):
    Image.new("L", (50, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (picture_size, lambda path: read_picture(path, "RGB")):
        with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: .* pixels"):
            read(tmp_path / "a.png")
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            read(tmp_path / "gone.png")
