"""What the bands of a scene are taken for."""

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from scene_files import DARK, HEIGHT, WIDTH, truth, write_scene

from cadformer_d2.inference.raster import Scene
from cadformer_d2.inference.tiling import Window

WHOLE = Window(0, 0, HEIGHT, WIDTH)


def write_bands(path, values, *, colours=None, colormap=None, **profile):
    """Values (bands, height, width) in their own type; ``colours``: a tag for each band."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype} | profile
    with rasterio.open(path, "w", height=height, width=width, count=count, **profile) as target:
        target.write(values)
        if colormap is not None:
            target.write_colormap(1, colormap)
        if colours is not None:
            target.colorinterp = [ColorInterp[name] for name in colours]
    return path


def four_bands(*values):
    return np.stack([np.full((HEIGHT, WIDTH), value, np.uint8) for value in values])


pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def test_a_band_that_is_named_as_a_colour_is_not_transparency(tmp_path):
    values = four_bands(10, 20, 30, 40)
    values[3, :, :50] = 0  # water, in near infrared
    path = write_bands(tmp_path / "s.tif", values)
    with rasterio.open(path) as tagged:
        assert tagged.colorinterp[3] == ColorInterp.alpha  # which nobody asked for
    scene = Scene(path, bands=(4, 1, 2))
    assert scene.is_valid(WHOLE).all()
    pixels, is_valid = scene.read(Window(0, 0, 10, 20), (1, 2))
    assert is_valid.all() and (pixels == [0, 10, 20]).all()
    assert not Scene(path).is_valid(WHOLE)[:, :50].any()


def test_transparency_that_looks_like_a_picture_is_named(tmp_path, caplog):
    infrared = np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(1, HEIGHT, WIDTH) % 251
    values = np.concatenate([four_bands(10, 20, 30), infrared.astype(np.uint8)])
    path = write_bands(tmp_path / "s.tif", values)
    Scene(path, bands=(4, 1, 2))
    assert not caplog.messages
    Scene(path)
    assert "band 4 is called alpha and used as transparency" in caplog.text


def test_a_band_that_is_a_colour_weighs_no_other(tmp_path):
    values = four_bands(0, 20, 30, 0)
    values[[0, 3], :, 50:] = 200
    path = write_bands(tmp_path / "s.tif", values)
    pixels, _ = Scene(path, bands=(1, 4, 2)).read(Window(0, 40, 10, 20), (1, 1))
    assert pixels[0, 0].tolist() == [100, 100, 20]


def test_transparency_that_gdal_makes_no_mask_of_is_seen(tmp_path):
    values = four_bands(10, 20, 30, 40, 255)
    values[4, :, :50] = 0
    path = write_bands(
        tmp_path / "s.tif", values, colours=["red", "green", "blue", "undefined", "alpha"]
    )
    is_valid = Scene(path).is_valid(WHOLE)
    assert not is_valid[:, :50].any() and is_valid[:, 50:].all()


def test_transparency_beside_one_band_is_not_a_colour(tmp_path):
    path = write_bands(tmp_path / "s.tif", four_bands(10, 255), colours=["gray", "alpha"])
    assert Scene(path).bands == (1, 1, 1)


@pytest.mark.parametrize(
    ("colours", "bands"),
    [
        (["blue", "green", "red", "undefined"], (3, 2, 1)),
        (["undefined", "red", "green", "blue"], (2, 3, 4)),
        (["alpha", "red", "green", "blue"], (2, 3, 4)),
        (["alpha", "gray", "undefined", "undefined"], (2, 3, 4)),
        (["gray", "undefined", "undefined", "undefined"], (1, 2, 3)),
    ],
)
def test_bands_are_taken_as_they_are_tagged(tmp_path, colours, bands):
    values = four_bands(10, 20, 30, 255)
    path = write_bands(tmp_path / "s.tif", values, colours=colours, photometric="MINISBLACK")
    assert Scene(path).bands == bands


COLORMAP = {value: (3 * value, 255 - value, value, 255) for value in range(80)}


def test_a_palette_beside_transparency_is_seen_in_its_colours(tmp_path):
    numbers = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8) % 80
    alpha = np.full_like(numbers, 255)
    alpha[:, :50] = 0
    profile = {"colormap": COLORMAP, "photometric": "palette"}
    plain = Scene(write_bands(tmp_path / "plain.tif", numbers[None], **profile))
    both = Scene(
        write_bands(
            tmp_path / "both.tif",
            np.stack([numbers, alpha]),
            colours=["palette", "alpha"],
            alpha="yes",
            **profile,
        )
    )
    expected, _ = plain.read(WHOLE, plain.size)
    pixels, is_valid = both.read(WHOLE, both.size)
    assert not is_valid[:, :50].any() and is_valid[:, 50:].all()
    np.testing.assert_array_equal(pixels[:, 50:], expected[:, 50:])
    assert expected[0, 79].tolist() == [237, 176, 79]


def test_a_palette_of_16_bits_is_seen_in_its_colours(tmp_path):
    path = write_bands(
        tmp_path / "s.tif",
        np.full((1, 4, 5), 7, np.uint16),
        colormap=COLORMAP,
        photometric="palette",
    )
    assert (Scene(path).read(Window(0, 0, 4, 5), (4, 5))[0] == [21, 248, 7]).all()


def write_vrt(path, *, dtype="Byte", colour="Palette", table=""):
    path.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="5">'
        f'<VRTRasterBand dataType="{dtype}" band="1"><ColorInterp>{colour}</ColorInterp>{table}'
        "</VRTRasterBand></VRTDataset>"
    )
    return path


TABLE = '<ColorTable><Entry c1="1" c2="2" c3="3" c4="255"/></ColorTable>'
UNCLEAR = {
    "palette of other numbers": (
        {"dtype": "Int16", "table": TABLE},
        "a palette for values of type int16; only 8 and 16 bits are supported",
    ),
    "palette without colours": ({}, "its values are palette indices but has no palette"),
    "colours of print": ({"colour": "Cyan"}, "has bands called cyan, not red, green, blue"),
    "complex numbers": ({"dtype": "CInt16", "colour": "Gray"}, "compute the amplitude first"),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_bands_that_are_no_image_are_named(tmp_path, kind):
    options, message = UNCLEAR[kind]
    with pytest.raises(ValueError, match=message):
        Scene(write_vrt(tmp_path / "s.vrt", **options))


def test_few_bits_look_like_eight(tmp_path):
    eight = Scene(write_bands(tmp_path / "8.tif", truth()[None] * np.uint8(255)))
    one = write_bands(tmp_path / "1.tif", truth()[None].astype(np.uint8), nbits=1)
    four = write_bands(tmp_path / "4.tif", truth()[None] * np.uint8(15), nbits=4)
    for scene in (Scene(one), Scene(one, bands=(1, 1, 1)), Scene(four)):
        for shape in (scene.size, (30, 100)):
            pixels, _ = scene.read(WHOLE, shape)
            expected, _ = eight.read(WHOLE, shape)
            assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_infinite_values_are_not_valid(tmp_path):
    path = write_scene(tmp_path / "s.tif", dtype="float32", nodata=np.inf, hole=(0, 0, 300, 99))
    with rasterio.open(path, "r+") as scene:
        scene.nodata = None
    scene = Scene(path)
    assert not scene.is_valid(WHOLE)[:, :99].any()
    assert np.isfinite(scene.limits).all() and scene.limits[0, 0] == DARK
