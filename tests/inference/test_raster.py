"""Reading scenes of every kind, and writing masks."""

import numpy as np
import pytest
import rasterio
from rasterio._env import get_gdal_config
from rasterio.transform import Affine
from scene_files import BRIGHT, HEIGHT, TRANSFORM, UTM, WIDTH, truth, write_scene

from cadformer_d2.inference.raster import (
    CACHE_MEGABYTES,
    MaskFile,
    Scene,
    ground_size,
    limited_cache,
)
from cadformer_d2.inference.tiling import Window

WHOLE = Window(0, 0, HEIGHT, WIDTH)


def looks_right(scene):
    """Whether targets are seen brighter than the ground around them."""
    pixels, _ = scene.read(WHOLE, scene.size)
    middle = (int(pixels.max()) + int(pixels.min())) / 2
    return ((pixels.mean(axis=2) > middle) == truth()).all()


def test_a_window_of_the_scene_is_read_at_the_size_asked_for(tmp_path):
    scene = Scene(write_scene(tmp_path / "s.tif"))
    pixels, is_valid = scene.read(Window(100, 980, 60, 100), (30, 50))
    assert pixels.shape == (30, 50, 3) and is_valid.all()
    assert (pixels[2:-2, 2:-2] == BRIGHT).all()


@pytest.mark.parametrize(
    ("dtype", "scale"), [("uint8", 1), ("uint16", 7), ("int16", -9), ("float32", 1e-4)]
)
def test_every_type_of_number_is_stretched_to_what_can_be_seen(tmp_path, dtype, scale):
    if scale < 0:
        path = write_scene(tmp_path / "s.tif", dtype=dtype, scale=9)
        with rasterio.open(path, "r+") as scene:
            scene.write(scene.read() - 3000)
    else:
        path = write_scene(tmp_path / "s.tif", dtype=dtype, scale=scale)
    assert looks_right(Scene(path))


def test_one_band_serves_for_all_three(tmp_path):
    scene = Scene(write_scene(tmp_path / "s.tif", bands=1))
    assert scene.bands == (1, 1, 1) and looks_right(scene)


def test_a_palette_is_seen_in_its_colours_unless_its_band_is_asked_for(tmp_path):
    path = write_scene(tmp_path / "s.tif", bands=1)
    with rasterio.open(path, "r+") as scene:
        scene.write(np.where(truth(), 3, 4).astype(np.uint8), 1)
        scene.write_colormap(1, {3: (250, 240, 10, 255), 4: (0, 30, 40, 255)})
    pixels, is_valid = Scene(path).read(WHOLE, (HEIGHT, WIDTH))
    assert is_valid.all()
    np.testing.assert_array_equal(pixels[truth()], [[250, 240, 10]] * truth().sum())
    reduced, _ = Scene(path).read(Window(100, 980, 4, 2), (2, 1))
    assert (reduced == [250, 240, 10]).all()
    edge, _ = Scene(path).read(Window(100, 978, 1, 4), (1, 1))
    np.testing.assert_array_equal(edge, [[[125, 135, 25]]])  # of colours, not of their numbers
    values, _ = Scene(path, bands=(1, 1, 1)).read(WHOLE, (HEIGHT, WIDTH))
    assert set(np.unique(values)) == {3, 4}


def test_bands_are_taken_in_the_order_asked_for(tmp_path):
    path = write_scene(tmp_path / "s.tif", bands=4)
    with rasterio.open(path, "r+") as scene:
        for band in range(1, 5):
            scene.write(np.full((HEIGHT, WIDTH), 10 * band, np.uint8), band)
    pixels, _ = Scene(path, bands=(4, 1, 2)).read(WHOLE, (2, 2))
    assert pixels[0, 0].tolist() == [40, 10, 20]


def test_transparent_pixels_are_not_valid(tmp_path):
    path = write_scene(tmp_path / "s.tif", bands=4, photometric="RGB", alpha="YES")
    with rasterio.open(path, "r+") as scene:
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, :50] = 0
        scene.write(alpha, 4)
    is_valid = Scene(path).is_valid(WHOLE)
    assert not is_valid[:, :50].any() and is_valid[:, 50:].all()


def test_what_is_no_number_is_not_valid_and_does_not_spoil_the_stretch(tmp_path):
    path = write_scene(tmp_path / "s.tif", dtype="float32", nodata=np.nan, hole=(0, 0, 300, 99))
    with rasterio.open(path, "r+") as scene:
        scene.nodata = None  # so that nothing but the values themselves says so
    scene = Scene(path)
    is_valid = scene.is_valid(WHOLE)
    assert not is_valid[:, :99].any() and is_valid[:, 99:].all()
    assert np.isfinite(scene.limits).all() and scene.read(WHOLE, scene.size)[0].max() == 255


@pytest.mark.parametrize(
    ("crs", "transform", "latitude"),
    [
        (UTM, TRANSFORM, None),
        (UTM, Affine.translation(5e5, 5.3e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5), None),
        ("EPSG:3857", Affine(0.5, 0, 1_250_000, 0, -0.5, 6_100_000), 47.9),
    ],
)
def test_a_pixels_size_is_that_on_the_ground(crs, transform, latitude):
    expected = 0.5 if latitude is None else 0.5 * np.cos(np.radians(latitude))
    assert ground_size(transform, crs, size=(300, 1300)) == pytest.approx((expected,) * 2, rel=5e-3)


def test_a_pixel_in_degrees_is_narrower_than_high_away_from_the_equator():
    transform = Affine(1e-5, 0, 10, 0, -1e-5, 60)
    # A degree is 111.41 km high and 55.80 km wide at 60 degrees north.
    assert ground_size(transform, "EPSG:4326", size=(2, 2)) == pytest.approx((1.1141, 0.558), 1e-3)


def test_without_a_crs_nothing_is_known_of_the_ground(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert Scene(write_scene(tmp_path / "s.tif", crs=None)).pixel_metres is None


def is_cloud_optimized(path):
    """GDAL's rule: tiled, with overviews; directories first, then pixels, the smallest first."""
    with rasterio.open(path) as mask:
        directories = [
            int(mask.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=level))
            for level in [None, *range(len(mask.overviews(1)))]
        ]
        pixels = [
            int(mask.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=level))
            for level in [None, *range(len(mask.overviews(1)))]
        ]
        return (
            mask.profile["tiled"]
            and len(directories) > 1
            and directories == sorted(directories)
            and pixels == sorted(pixels, reverse=True)
            and max(directories) < min(pixels)
        )


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, TRANSFORM),
        ("EPSG:3857", Affine(0.5, 0, 1_250_000, 0, -0.5, 6_100_000)),
        (UTM, Affine.translation(5e5, 5.3e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)),
    ],
)
def test_a_mask_is_a_cloud_optimized_geotiff_on_the_scenes_grid(tmp_path, crs, transform):
    path = write_scene(tmp_path / "s.tif", crs=crs, transform=transform)
    mask_file = MaskFile(Scene(path), tmp_path)
    mask_file.write(WHOLE, truth(), np.ones((HEIGHT, WIDTH), bool))
    mask_file.finish(tmp_path / "m.tif")
    assert is_cloud_optimized(tmp_path / "m.tif") and not is_cloud_optimized(path)
    with rasterio.open(path) as scene, rasterio.open(tmp_path / "m.tif") as mask:
        assert mask.crs == scene.crs and mask.transform == scene.transform
        assert mask.nodata == 255 and mask.compression.name == "deflate"
        assert ((mask.read(1) == 1) == truth()).all()


MISTAKES = {
    "bands": ({"bands": (1, 2, 9)}, "three numbers from 1 to 3 are needed"),
    "percentiles": ({"percentiles": (98, 2)}, "needed: 0 <= low < high <= 100"),
    "file": ({}, "cannot be opened as a raster"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(tmp_path, mistake):
    options, message = MISTAKES[mistake]
    path = tmp_path / "s.tif"
    if mistake == "file":
        path.write_text("not a raster")
    else:
        write_scene(path)
    with pytest.raises(ValueError, match=message):
        Scene(path, **options)


def test_a_scene_without_a_valid_pixel_cannot_be_stretched(tmp_path):
    path = write_scene(tmp_path / "t.tif", dtype="uint16", nodata=0, hole=(0, 0, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="has no valid pixel"):
        Scene(path)


def test_a_mask_that_does_not_read_back_is_not_put_under_its_name(tmp_path, monkeypatch):
    # GDAL reports success where the disk gets full at the very end.
    copy = rasterio.shutil.copy

    def cut_short(source, target, **options):
        copy(source, target, **options)
        with open(target, "r+b") as file:
            file.truncate(target.stat().st_size - 300)

    monkeypatch.setattr("cadformer_d2.inference.raster.rasterio.shutil.copy", cut_short)
    mask_file = MaskFile(Scene(write_scene(tmp_path / "s.tif")), tmp_path)
    mask_file.write(WHOLE, truth(), np.ones((HEIGHT, WIDTH), bool))
    with pytest.raises(OSError, match=r"m\.tif could not be written"):
        mask_file.finish(tmp_path / "m.tif")
    assert not (tmp_path / "m.tif").exists()


def test_gdals_memory_does_not_depend_on_the_machine():
    with limited_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == CACHE_MEGABYTES
