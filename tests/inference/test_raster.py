"""Reading scenes of every kind, and writing masks."""

import numpy as np
import pytest
import rasterio
from rasterio._env import get_gdal_config
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import Affine
from scene_files import BRIGHT, HEIGHT, TRANSFORM, UTM, WIDTH, truth, write_scene

from cadformer_d2.inference.mask_file import MaskFile
from cadformer_d2.inference.placement import Placement
from cadformer_d2.inference.raster import CACHE_MEGABYTES, Scene, limited_cache
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
    edge, _ = Scene(path).read(Window(100, 978, 1, 4), (1, 1))
    np.testing.assert_array_equal(edge, [[[125, 135, 25]]])  # of the colours, not their numbers
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
    placement = Placement(CRS.from_string(crs), transform, (300, 1300))
    assert placement.pixel_metres == pytest.approx((expected,) * 2, rel=5e-3)


def test_a_pixel_in_degrees_is_narrower_than_high_away_from_the_equator():
    transform = Affine(1e-5, 0, 10, 0, -1e-5, 60)
    # A degree is 111.41 km high and 55.80 km wide at 60 degrees north.
    placement = Placement(CRS.from_epsg(4326), transform, (2, 2))
    assert placement.pixel_metres == pytest.approx((1.1141, 0.558), 1e-3)


def test_without_a_crs_nothing_is_known_of_the_ground(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert Scene(write_scene(tmp_path / "s.tif", crs=None)).placement.pixel_metres is None


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
    "bands": ({"bands": (1, 2, 9)}, "expected three numbers from 1 to 3"),
    "percentiles": ({"percentiles": (98, 2)}, "expected 0 <= low < high <= 100"),
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

    monkeypatch.setattr("cadformer_d2.inference.mask_file.rasterio.shutil.copy", cut_short)
    mask_file = MaskFile(Scene(write_scene(tmp_path / "s.tif")), tmp_path)
    mask_file.write(WHOLE, truth(), np.ones((HEIGHT, WIDTH), bool))
    with pytest.raises(OSError, match=r"m\.tif could not be written"):
        mask_file.finish(tmp_path / "m.tif")
    assert not (tmp_path / "m.tif").exists()


def test_gdals_memory_does_not_depend_on_the_machine():
    with limited_cache():
        assert get_gdal_config("GDAL_CACHEMAX") == CACHE_MEGABYTES


def write_bands(path, values, **profile):
    """Values (bands, height, width) in their own type."""
    count, height, width = values.shape
    profile = {"driver": "GTiff", "crs": UTM, "transform": TRANSFORM, **profile}
    size = {"count": count, "height": height, "width": width}
    with rasterio.open(path, "w", dtype=values.dtype, **size, **profile) as target:
        target.write(values)
    return path


def colours(seed=0, bands=4):
    return np.random.default_rng(seed).integers(0, 256, (bands, 40, 50), dtype=np.uint8)


def test_a_transform_that_places_nothing_is_named(tmp_path):
    path = write_bands(tmp_path / "s.tif", colours(), transform=Affine(np.nan, 0, 0, 0, -1, 0))
    with pytest.raises(ValueError, match="unusable geotransform"):
        Scene(path)


@pytest.mark.parametrize("num_points", [1, 4])
def test_ground_control_points_that_place_nothing_are_named(tmp_path, num_points):
    points = [GroundControlPoint(0, 0, 500_000, 5_300_000)] * num_points
    path = write_bands(tmp_path / "s.tif", colours(), transform=None, gcps=points)
    with pytest.raises(ValueError, match=f"has {num_points} ground control points that are unus"):
        Scene(path)


def test_ground_control_points_place_a_scene_and_stay_in_the_mask(tmp_path):
    points = [
        GroundControlPoint(row, column, 500_000 + column * 0.5, 5_300_000 - row * 0.5)
        for row in (0, 40)
        for column in (0, 50)
    ]
    profile = {"transform": None, "gcps": points}
    scene = Scene(write_bands(tmp_path / "gcps.tif", colours(), **profile))
    expected = [(500_005, 5_299_990)]
    np.testing.assert_allclose(scene.placement.to_crs([(10, 20)]), expected, atol=1e-3)
    assert scene.placement.pixel_metres == pytest.approx((0.5, 0.5), rel=5e-3)
    mask_file = MaskFile(scene, tmp_path)
    mask_file.write(Window(0, 0, 40, 50), np.ones((40, 50), bool), np.ones((40, 50), bool))
    mask_file.finish(tmp_path / "m.tif")
    with rasterio.open(tmp_path / "m.tif") as mask:
        assert len(mask.gcps[0]) == 4 and mask.gcps[1] == CRS.from_string(UTM)


LO_29 = "EPSG:2053"  # counts to the west and to the south


@pytest.mark.parametrize(
    ("transform", "crs", "turn"),
    [
        (Affine(0.5, 0, 0, 0, -0.5, 0), UTM, lambda array: array),
        (Affine(0.5, 0, 0, 0, 0.5, 0), UTM, np.flipud),
        (Affine(-0.5, 0, 0, 0, -0.5, 0), UTM, np.fliplr),
        (Affine(-0.5, 0, 0, 0, 0.5, 0), UTM, lambda array: array[::-1, ::-1]),
        # Turned by some degrees, as drones and old maps are.
        (Affine.rotation(20) @ Affine.scale(0.5, 0.5), UTM, np.flipud),
        # By a quarter: neither axis says where north is, whatever rounding left of them.
        (Affine(1e-17, 0.5, 0, 0.5, 1e-17, 0), UTM, lambda array: array),
        (Affine(-0.5, 0, 0, 0, 0.5, 2_890_000), LO_29, lambda array: array),
        (Affine.identity(), UTM, lambda array: array),  # no transform is known
        (Affine(0.5, 0, 0, 0, 0.5, 0), None, lambda array: array),
    ],
)
def test_a_scene_is_seen_with_north_up(tmp_path, transform, crs, turn):
    scene = Scene(write_scene(tmp_path / "s.tif"))
    scene.placement = Placement(crs and CRS.from_string(crs), transform, scene.size)
    array = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(scene.turn_upright(array), turn(array))
    np.testing.assert_array_equal(scene.turn_upright(scene.turn_upright(array)), array)
