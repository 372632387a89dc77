"""Large rasters, with a segmenter that knows the answer: what is brighter than its surroundings."""

import json
import resource

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.warp
import shapely
from rasterio.transform import Affine

from cadformer_d2.inference.raster import (
    Scene,
    TilePlan,
    TileStore,
    place_words,
    segment_tiles,
    tile_job,
    write_maps,
)
from cadformer_d2.inference.tiling import Window
from cadformer_d2.inference.vector import block_pieces, joined_pieces, write_vector

UTM = "EPSG:32632"
TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)  # half a metre a pixel
HEIGHT, WIDTH = 300, 1300  # wider than a block, so that pieces meet at its seam
TARGETS = ((100, 980, 60, 100), (20, 200, 30, 40))  # row, column, height, width


def write_scene(path, *, dtype="uint8", scale=1, bands=3, crs=UTM, nodata=None, hole=None):
    values = np.full((bands, HEIGHT, WIDTH), 50 * scale, dtype)
    for row, column, height, width in TARGETS:
        values[:, row : row + height, column : column + width] = 200 * scale
    if hole is not None:
        values[:, hole[0] : hole[0] + hole[2], hole[1] : hole[1] + hole[3]] = nodata
    profile = {"driver": "GTiff", "dtype": dtype, "count": bands, "height": HEIGHT, "width": WIDTH}
    profile |= {"nodata": nodata} if crs is None else {
        "crs": crs, "transform": TRANSFORM, "nodata": nodata
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(values)
    return path


def truth():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for row, column, height, width in TARGETS:
        mask[row : row + height, column : column + width] = True
    return mask


def bright(pixels):
    return (pixels.mean(axis=2) > 125).astype(np.float32) * 0.9


def run(path, folder, *, plan=None, segment=bright, resume=False, batch_size=1, **scene_options):
    """Mask (height, width) as written, and the pieces."""
    scene = Scene(path, **scene_options)
    plan = plan or TilePlan(tile=(96, 96))
    windows = plan.windows(scene.size)
    store = TileStore(folder / "tiles", job=tile_job(scene, plan), resume=resume)
    network_size = (96, 96) if plan.mode == "tiles" else (100, 433)
    done = segment_tiles(
        scene,
        windows,
        store,
        lambda tiles: [segment(pixels) for pixels in tiles],
        network_size=network_size,
        batch_size=batch_size,
    )
    assert list(done) == windows
    pieces = write_maps(scene, windows, store, folder / "mask.tif")
    with rasterio.open(folder / "mask.tif") as result:
        mask = result.read(1)
    store.remove()
    return mask, pieces


@pytest.mark.parametrize("tile", [(96, 96), (128, 200), (300, 700)])
def test_the_map_does_not_depend_on_how_the_scene_was_cut(tmp_path, tile):
    mask, pieces = run(write_scene(tmp_path / "s.tif"), tmp_path, plan=TilePlan(tile=tile))
    # Tiles other than the network's are resampled, which moves edges by less than two pixels.
    wrong = (mask == 1) != truth()
    assert wrong.sum() == 0 if tile == (96, 96) else wrong.mean() < 0.004
    assert len(pieces) == 2


def test_a_piece_across_the_seam_of_blocks_is_one_polygon_with_its_own_numbers(tmp_path):
    _, pieces = run(write_scene(tmp_path / "s.tif"), tmp_path)
    sizes = sorted((piece.num_pixels, piece.polygon.area) for piece in pieces)
    assert sizes == [(30 * 40, 30 * 40), (60 * 100, 60 * 100)]
    for piece in pieces:
        assert piece.probability_sum / piece.num_pixels == pytest.approx(0.9, abs=0.01)


def test_the_mask_is_a_cloud_optimized_geotiff_with_the_scenes_georeference(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    run(path, tmp_path)
    with rasterio.open(path) as scene, rasterio.open(tmp_path / "mask.tif") as mask:
        assert mask.crs == scene.crs and mask.transform == scene.transform
        assert mask.shape == scene.shape and mask.nodata == 255
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert mask.overviews(1) and mask.compression.name == "deflate"


def vector_file(tmp_path, name, **scene_options):
    path = write_scene(tmp_path / "s.tif", **scene_options)
    _, pieces = run(path, tmp_path)
    with rasterio.open(path) as scene:
        write_vector(
            pieces,
            tmp_path / name,
            transform=scene.transform,
            crs=scene.crs,
            properties={"sentence": "the bright one", "checkpoint": "abc"},
        )
    return tmp_path / name


def test_geojson_is_longitude_and_latitude_with_what_was_asked(tmp_path):
    features = json.loads(vector_file(tmp_path, "out.geojson").read_text())["features"]
    large = max(features, key=lambda feature: feature["properties"]["area_px"])
    longitude, latitude = shapely.geometry.shape(large["geometry"]).centroid.coords[0]
    expected = rasterio.warp.transform(UTM, "EPSG:4326", [500_515], [5_299_935])
    assert longitude == pytest.approx(expected[0][0], abs=1e-6)
    assert latitude == pytest.approx(expected[1][0], abs=1e-6)
    properties = large["properties"]
    assert properties["sentence"] == "the bright one" and properties["checkpoint"] == "abc"
    assert properties["area_m2"] == pytest.approx(1500, rel=0.005)  # 60 x 100 half metres
    assert shapely.geometry.shape(large["geometry"]).exterior.is_ccw


def test_a_geopackage_keeps_the_scenes_crs(tmp_path):
    meta, _, geometry, fields = pyogrio.raw.read(vector_file(tmp_path, "out.gpkg"))
    assert "32632" in meta["crs"]
    bounds = shapely.bounds(shapely.from_wkb(geometry)).tolist()
    assert [500_490.0, 5_299_920.0, 500_540.0, 5_299_950.0] in bounds
    assert dict(zip(meta["fields"], fields, strict=True))["sentence"][0] == "the bright one"


def test_without_a_crs_polygons_are_in_pixels(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = vector_file(tmp_path, "out.geojson", crs=None)
    features = json.loads(file.read_text())["features"]
    bounds = [shapely.geometry.shape(feature["geometry"]).bounds for feature in features]
    assert (980.0, 100.0, 1080.0, 160.0) in bounds
    assert features[0]["properties"]["area_m2"] is None


def test_sixteen_bits_are_stretched_and_bands_are_chosen(tmp_path):
    path = write_scene(tmp_path / "s.tif", dtype="uint16", scale=7, bands=4)
    mask, _ = run(path, tmp_path, bands=(4, 2, 1))
    assert ((mask == 1) == truth()).all()


def test_pixels_without_data_are_neither_asked_nor_answered(tmp_path):
    hole = (0, 0, 300, 250)  # the whole left end, with the smaller target
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=hole)
    asked = []
    mask, pieces = run(path, tmp_path, segment=lambda pixels: asked.append(1) or bright(pixels))
    assert (mask[:, :250] == 255).all() and (mask[:, 250:] != 255).all()
    assert len(pieces) == 1
    assert len(asked) < len(TilePlan(tile=(96, 96)).windows((HEIGHT, WIDTH)))


@pytest.mark.parametrize("stop_after", [0, 7, 50])
def test_an_interrupted_run_goes_on_with_the_tiles_that_are_left(tmp_path, stop_after):
    path = write_scene(tmp_path / "s.tif")
    asked = []

    def interrupted(pixels):
        if len(asked) == stop_after:
            raise KeyboardInterrupt
        asked.append(1)
        return bright(pixels)

    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path, segment=interrupted)
    with pytest.raises(ValueError, match="holds an unfinished run; go on with --resume"):
        run(path, tmp_path)
    again = []
    mask, _ = run(
        path, tmp_path, segment=lambda pixels: again.append(1) or bright(pixels), resume=True
    )
    windows = TilePlan(tile=(96, 96)).windows((HEIGHT, WIDTH))
    assert len(asked) + len(again) == len(windows)
    assert ((mask == 1) == truth()).all()


def test_tiles_asked_together_give_the_same_map(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    assert (run(path, tmp_path)[0] == run(path, tmp_path, batch_size=5)[0]).all()


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, TRANSFORM),
        ("EPSG:3857", Affine(0.5, 0, 1_250_000, 0, -0.5, 6_100_000)),
        (UTM, Affine.translation(5e5, 5.3e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)),
    ],
)
def test_polygons_lie_where_their_pixels_are_and_have_their_area(tmp_path, crs, transform):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[100:160, 980:1080] = True
    pieces = block_pieces(Window(0, 0, HEIGHT, WIDTH), mask, mask.astype(np.float32))
    crs = rasterio.crs.CRS.from_string(crs)
    write_vector(pieces, tmp_path / "o.gpkg", transform=transform, crs=crs, properties={"a": "b"})
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "o.gpkg")
    polygon = shapely.from_wkb(geometry[0])
    corner = transform @ (980, 100)
    assert min(np.hypot(*np.subtract(corner, point)) for point in polygon.exterior.coords) < 1e-6
    area = dict(zip(meta["fields"], fields, strict=True))["area_m2"][0]
    # A web map's metres are longer than the ground's, by the cosine of the latitude.
    latitude = rasterio.warp.transform(crs, "EPSG:4326", [corner[0]], [corner[1]])[1][0]
    shrink = np.cos(np.radians(latitude)) ** 2 if crs.to_epsg() == 3857 else 1
    assert area == pytest.approx(1500 * shrink, rel=0.01)


def test_a_polygon_ends_where_the_data_end(tmp_path):
    # The hole cuts a target, and the tiles are resampled, which blurs the cut.
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=(0, 1030, 300, 200))
    mask, pieces = run(path, tmp_path, plan=TilePlan(tile=(128, 200)))
    assert sum(piece.num_pixels for piece in pieces) == (mask == 1).sum()
    assert (mask[:, 1030:1230] == 255).all()


def test_one_band_serves_for_all_three(tmp_path):
    mask, _ = run(write_scene(tmp_path / "s.tif", bands=1), tmp_path)
    assert ((mask == 1) == truth()).all()


def test_what_is_transparent_or_not_a_number_is_not_answered(tmp_path):
    path = write_scene(tmp_path / "s.tif", dtype="float32", scale=0.01)
    with rasterio.open(path, "r+") as scene:
        values = scene.read()
        values[1, :, :250] = np.nan
        scene.write(values)
    mask, pieces = run(path, tmp_path)
    assert len(pieces) == 1 and not (mask[:, :250] == 1).any()
    path = write_scene(tmp_path / "t.tif", bands=4)
    with rasterio.open(path, "r+") as scene:
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, :250] = 0
        scene.colorinterp = [*scene.colorinterp[:3], rasterio.enums.ColorInterp.alpha]
        scene.write(alpha, 4)
    mask, pieces = run(path, tmp_path)
    assert len(pieces) == 1 and (mask[:, :250] == 255).all()


def test_a_scene_without_any_valid_pixel_is_an_empty_map_or_a_clear_error(tmp_path):
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=(0, 0, HEIGHT, WIDTH))
    mask, pieces = run(path, tmp_path)
    assert (mask == 255).all() and pieces == []
    path = write_scene(tmp_path / "t.tif", dtype="uint16", nodata=0, hole=(0, 0, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="has no valid pixel"):
        Scene(path)


def test_a_truncated_scene_is_named_and_leaves_no_map(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(OSError, match=r"s\.tif is damaged: .* cannot be read"):
        run(path, tmp_path)
    assert not (tmp_path / "mask.tif").exists()


def test_a_full_disk_is_named_and_leaves_no_map(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be written"):
            run(path, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "mask.tif").exists()


def test_tiles_of_another_job_are_not_mixed_in(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    scene = Scene(path)
    TileStore(tmp_path / "tiles", job=tile_job(scene, TilePlan(overlap=0.1)), resume=False)
    with pytest.raises(ValueError, match="holds tiles of another job"):
        run(path, tmp_path, resume=True)


def test_the_whole_scene_is_asked_once(tmp_path):
    asked = []

    def segment(pixels):
        asked.append(pixels.shape)
        return bright(pixels)

    plan = TilePlan(mode="whole")
    mask, _ = run(write_scene(tmp_path / "s.tif"), tmp_path, plan=plan, segment=segment)
    assert asked == [(100, 433, 3)]
    wrong = (mask == 1) != truth()
    assert wrong.mean() < 0.004  # a third of the resolution


MISTAKES = {
    "bands": ({"bands": (1, 2, 9)}, "three numbers from 1 to 3 are needed"),
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


def test_words_for_places_are_found():
    assert place_words("the tank in the upper left corner") == ["upper", "left", "corner"]
    assert place_words("the largest tank") == []


def test_no_piece_at_all_is_an_empty_map(tmp_path):
    mask, pieces = run(
        write_scene(tmp_path / "s.tif"), tmp_path, segment=lambda p: np.zeros(p.shape[:2])
    )
    assert (mask == 0).all() and pieces == [] == joined_pieces([])
    crs = rasterio.crs.CRS.from_string(UTM)
    for name in ("out.geojson", "out.gpkg"):
        count = write_vector([], tmp_path / name, transform=TRANSFORM, crs=crs, properties={})
        assert count == 0 and (tmp_path / name).exists()


def test_a_window_of_the_scene_is_read_at_the_size_asked_for(tmp_path):
    scene = Scene(write_scene(tmp_path / "s.tif"))
    pixels, is_valid = scene.read(Window(100, 980, 60, 100), (30, 50))
    assert pixels.shape == (30, 50, 3) and is_valid.all()
    assert (pixels[2:-2, 2:-2] == 200).all() and scene.gsd == 0.5
