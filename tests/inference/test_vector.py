"""Pieces of masks, and the files they are written to."""

import json

import cv2
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.warp
import shapely
from rasterio.transform import Affine
from scene_files import HEIGHT, TRANSFORM, UTM, WIDTH, truth

from cadformer_d2.inference.connected_components import find_components, merge_components
from cadformer_d2.inference.placement import Placement
from cadformer_d2.inference.tiling import Window, block_windows
from cadformer_d2.inference.vector import write_vector

ROTATED = Affine.translation(5e5, 5.3e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
WEB_MAP = Affine(0.5, 0, 1_250_000, 0, -0.5, 6_100_000)
SOUTH_UP = Affine(0.5, 0, 500_000, 0, 0.5, 5_300_000)
GRIDS = {
    "UTM": (UTM, TRANSFORM),
    "web map": ("EPSG:3857", WEB_MAP),
    "rotated": (UTM, ROTATED),
    "south up": (UTM, SOUTH_UP),
}


def pieces_of(mask, *, side):
    """Pieces of a mask that is seen block by block."""
    whole = Window(0, 0, *mask.shape)
    probability = np.linspace(0.5, 1, mask.size, dtype=np.float32).reshape(mask.shape)
    return merge_components(
        (block, find_components(block, mask[block.within(whole)], probability[block.within(whole)]))
        for block in block_windows(mask.shape, side)
    )


def blobs(seed, size=(150, 190)):
    noise = np.random.default_rng(seed).random(size).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) > 0.5


def described(components):
    return sorted(
        (
            component.num_pixels,
            round(component.probability_sum, 2),
            component.polygon.normalize().wkt,
        )
        for component in components
    )


@pytest.mark.parametrize("side", [16, 50, 64, 149])
def test_pieces_do_not_depend_on_the_blocks_in_which_the_mask_is_seen(side):
    mask = blobs(0)
    at_once = described(pieces_of(mask, side=1000))
    assert described(pieces_of(mask, side=side)) == at_once
    # Blobs touch each other at corners, surround others and cross many blocks.
    assert len(at_once) > 20
    assert sum(num_pixels for num_pixels, _, _ in at_once) == mask.sum()


def test_a_piece_is_handed_on_before_later_blocks_are_looked_at():
    mask, seen = np.zeros((400, 20), bool), []
    mask[5:8, 5:8] = True

    def blocks():
        for block in block_windows(mask.shape, 20):
            seen.append(block)
            part = mask[block.within(Window(0, 0, 400, 20))]
            yield block, find_components(block, part, part.astype(np.float32))

    next(merge_components(blocks()))
    assert len(seen) == 1


def placement(crs, transform, *, size=(HEIGHT, WIDTH)):
    return Placement(
        None if crs is None else rasterio.crs.CRS.from_string(crs), transform, tuple(size)
    )


def write(tmp_path, name, *, grid="UTM", mask=None):
    crs, transform = GRIDS.get(grid, (None, Affine.identity()))
    path = tmp_path / name
    mask = truth() if mask is None else mask
    count = write_vector(
        pieces_of(mask, side=64),
        path,
        placement=placement(crs, transform, size=mask.shape),
        properties={"sentence": 'the "réservoir"', "checkpoint": "abc"},
    )
    return path, count


def read_table(path):
    meta, _, geometry, columns = pyogrio.raw.read(path)
    table = dict(zip(meta["fields"], columns, strict=True))
    return meta["crs"], shapely.from_wkb(geometry), table


@pytest.mark.parametrize("grid", GRIDS)
def test_polygons_lie_where_their_pixels_are_and_have_their_area_on_the_ground(tmp_path, grid):
    crs, polygons, table = read_table(write(tmp_path, "out.gpkg", grid=grid)[0])
    assert rasterio.crs.CRS.from_user_input(crs) == rasterio.crs.CRS.from_string(GRIDS[grid][0])
    large = int(np.argmax(table["area_px"]))
    corners = [GRIDS[grid][1] @ corner for corner in ((980, 100), (1080, 100), (980, 160))]
    for corner in corners:
        assert (
            shapely.get_coordinates(polygons[large]).tolist().count(list(corner))
            or min(np.hypot(*np.subtract(corner, shapely.get_coordinates(polygons[large])).T))
            < 1e-6
        )
    # 60 x 100 half metres; a web map's are shorter on the ground, by the cosine of the latitude.
    latitude = rasterio.warp.transform(crs, "EPSG:4326", *np.transpose(corners[:1]))[1][0]
    shrink = np.cos(np.radians(latitude)) ** 2 if grid == "web map" else 1
    assert table["area_m2"][large] == pytest.approx(1500 * shrink, rel=0.01)
    assert table["area_px"].tolist().count(6000) == 1
    assert table["sentence"][0] == 'the "réservoir"' and table["checkpoint"][0] == "abc"
    assert 0.5 < table["mean_probability"][large] < 1


def ring_area(ring):
    """Positive where the ring turns counter-clockwise."""
    x, y = np.transpose(ring)
    return np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2


@pytest.mark.parametrize("grid", GRIDS)
def test_geojson_is_as_its_standard_asks(tmp_path, grid):
    # RFC 7946: longitude, latitude; no crs; closed rings of four positions or more; the outer one
    # counter-clockwise, holes clockwise.
    path, count = write(tmp_path, "out.geojson", grid=grid, mask=blobs(1))
    collection = json.loads(path.read_text())
    # Its section 6.1 allows members of one's own.
    assert set(collection) == {"type", "features", "num_instances"}
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == collection["num_instances"] == count > 20
    numbers = [feature["properties"]["instance"] for feature in collection["features"]]
    assert numbers == list(range(1, count + 1))
    num_holes = 0
    for feature in collection["features"]:
        assert set(feature) == {"type", "geometry", "properties"} and feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        outer, *holes = feature["geometry"]["coordinates"]
        for ring in (outer, *holes):
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(-180 <= x <= 180 and -90 <= y <= 90 for x, y in ring)
        assert ring_area(outer) > 0 and all(ring_area(hole) < 0 for hole in holes)
        num_holes += len(holes)
    assert num_holes > 0


def test_geojson_opens_with_the_expected_values(tmp_path):
    crs, polygons, table = read_table(write(tmp_path, "out.geojson")[0])
    assert crs == "EPSG:4326"
    large = int(np.argmax(table["area_px"]))
    longitude, latitude = polygons[large].centroid.coords[0]
    expected = rasterio.warp.transform(UTM, "EPSG:4326", [500_515], [5_299_935])
    assert (longitude, latitude) == pytest.approx((expected[0][0], expected[1][0]), abs=1e-6)
    assert table["area_m2"][large] == pytest.approx(1500, rel=0.01)
    assert table["sentence"][0] == 'the "réservoir"'


def test_without_a_crs_polygons_are_in_pixels(tmp_path):
    features = json.loads(write(tmp_path, "out.geojson", grid="none")[0].read_text())["features"]
    bounds = [shapely.geometry.shape(feature["geometry"]).bounds for feature in features]
    assert sorted(bounds) == [(200.0, 20.0, 240.0, 50.0), (980.0, 100.0, 1080.0, 160.0)]
    assert features[0]["properties"]["area_m2"] is None
    _, polygons, _ = read_table(write(tmp_path, "out.gpkg", grid="none")[0])
    assert sorted(tuple(row) for row in shapely.bounds(polygons)) == sorted(bounds)


@pytest.mark.parametrize("name", ["out.geojson", "out.gpkg"])
def test_more_polygons_than_are_written_at_once_are_all_there(tmp_path, name, monkeypatch):
    monkeypatch.setattr("cadformer_d2.inference.vector.ROWS_AT_ONCE", 7)
    path, count = write(tmp_path, name, mask=blobs(2))
    _, polygons, table = read_table(path)
    assert len(polygons) == len(table["sentence"]) == count > 14
    assert table["area_px"].sum() == blobs(2).sum()
    assert sorted(table["instance"]) == list(range(1, count + 1))


@pytest.mark.parametrize("name", ["out.geojson", "out.gpkg"])
def test_a_map_of_nothing_has_its_columns_all_the_same(tmp_path, name):
    path, count = write(tmp_path, name, mask=np.zeros((HEIGHT, WIDTH), bool))
    assert count == 0
    if name == "out.gpkg":
        assert "sentence" in read_table(path)[2]
    else:
        empty = {"type": "FeatureCollection", "features": [], "num_instances": 0}
        assert json.loads(path.read_text()) == empty


def test_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vectors are written as \.geojson or \.gpkg"):
        write(tmp_path, "out.shp")


@pytest.mark.parametrize("crs", ["EPSG:3460", "EPSG:32760"])
def test_polygons_at_the_antimeridian_are_cut_there_and_keep_their_area(tmp_path, crs):
    x, y = rasterio.warp.transform("EPSG:4326", crs, [180.0], [-16.8])
    # It runs through the large target.
    transform = Affine(0.5, 0, x[0] - 1030 * 0.5, 0, -0.5, y[0] + 130 * 0.5)
    place = placement(crs, transform)
    assert place.pixel_metres == pytest.approx((0.5, 0.5), rel=5e-3)
    path = tmp_path / "out.geojson"
    write_vector(pieces_of(truth(), side=64), path, placement=place, properties={})
    features = json.loads(path.read_text())["features"]
    (large,) = (entry for entry in features if entry["properties"]["area_px"] == 6000)
    assert large["geometry"]["type"] == "MultiPolygon"
    assert large["properties"]["area_m2"] == pytest.approx(1500, rel=0.01)
    west, east = sorted(
        shapely.geometry.Polygon(part[0]).bounds for part in large["geometry"]["coordinates"]
    )
    assert west[0] == -180 and west[2] < -179.99 and east[2] == 180 and east[0] > 179.99


def test_coordinates_of_a_geojson_tell_millimetres_apart_where_pixels_do(tmp_path):
    place = placement(UTM, Affine(0.005, 0, 500_000, 0, -0.005, 7_000_000))
    path = tmp_path / "out.geojson"
    write_vector(pieces_of(truth(), side=64), path, placement=place, properties={})
    for feature in json.loads(path.read_text())["features"]:
        polygon = shapely.geometry.shape(feature["geometry"])
        moved = shapely.transform(
            polygon,
            lambda points: np.column_stack(rasterio.warp.transform("EPSG:4326", UTM, *points.T)),
        )
        expected = feature["properties"]["area_px"] * 0.005**2
        assert polygon.is_valid and moved.area == pytest.approx(expected, rel=0.01)
        assert feature["properties"]["area_m2"] == pytest.approx(expected, rel=0.02)


LOCAL = 'LOCAL_CS["site",UNIT["foot",0.3048]]'
MARS = (
    'GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000",3396190,169.89]],'
    'PRIMEM["Greenwich",0],UNIT["Degree",0.0174532925199433]]'
)


@pytest.mark.parametrize("wkt", [LOCAL, MARS])
def test_a_scene_that_is_nowhere_on_earth_keeps_its_crs_and_has_no_square_metres(tmp_path, wkt):
    place = Placement(rasterio.crs.CRS.from_wkt(wkt), TRANSFORM, (HEIGHT, WIDTH))
    path = tmp_path / "out.gpkg"
    write_vector(pieces_of(truth(), side=64), path, placement=place, properties={})
    crs, polygons, table = read_table(path)
    assert len(polygons) == 2 and np.isnan(table["area_m2"]).all() and crs
    with pytest.raises(ValueError, match="GeoJSON needs longitude and latitude"):
        write_vector([], tmp_path / "out.geojson", placement=place, properties={})
