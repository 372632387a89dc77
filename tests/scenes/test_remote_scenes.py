"""Scenes behind a web server, and scenes that STAC documents name."""

import json

import numpy as np
import pytest
import rasterio
from many_scenes import make_job, save_tiny_model, write_noise
from range_server import serve
from rasterio.transform import Affine

from cadformer_d2.inference.named_url import NamedUrl
from cadformer_d2.inference.raster import Scene, limited_cache
from cadformer_d2.scenes.local_engine import segment_locally
from cadformer_d2.scenes.source import SceneSource, find_sources
from cadformer_d2.scenes.stac_source import StacReader


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint and a tiled scene with "no data" in its corner."""
    folder = tmp_path_factory.mktemp("remote")
    save_tiny_model(folder)
    pixels = np.random.default_rng(0).integers(1, 255, (3, 512, 640), dtype=np.uint8)
    pixels[:, :100, :100] = 0
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 512, "width": 640}
    profile |= {"crs": "EPSG:32632", "transform": Affine(2, 0, 5e5, 0, -2, 5.3e6), "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    with rasterio.open(folder / "scene.tif", "w", **profile, **tiles) as scene:
        scene.write(pixels)
    return folder


@pytest.fixture
def server(files):
    with serve(files) as running:
        yield running


def segment(files, output, location, **options):
    (outcome,) = segment_locally(
        make_job(files / "model.pth", output, batch_size=8), [SceneSource(location)], **options
    )
    return outcome


def masks(output):
    return [file.read_bytes() for file in sorted(output.glob("scenes/*/mask_*.tif"))]


@pytest.fixture(scope="module")
def masks_from_disk(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("disk") / "out"
    assert not segment(files, output, str(files / "scene.tif")).error
    return masks(output)


def test_a_url_gives_the_bytes_of_the_file_and_fetches_each_block_once(
    files, server, tmp_path, masks_from_disk
):
    outcome = segment(files, tmp_path / "out", f"{server.url}scene.tif")
    assert not outcome.error
    assert masks(tmp_path / "out") == masks_from_disk and len(masks_from_disk) == 2
    size = (files / "scene.tif").stat().st_size
    assert size * 0.9 < server.num_bytes < size * 1.3
    assert {path for _, path in server.requests} == {"/scene.tif"}  # nothing beside it
    (item,) = (tmp_path / "out").glob("scenes/*/item.json")
    properties = json.loads(item.read_text())["properties"]
    assert properties["cadformer:scene"] == f"{server.url}scene.tif"


def test_failing_resetting_and_slow_answers_change_no_byte(
    files, server, tmp_path, masks_from_disk
):
    server.faults = ["error", "", "reset", "slow", "error", "", "error", "reset"]
    outcome = segment(files, tmp_path / "out", f"{server.url}scene.tif", retries=2)
    assert not outcome.error and not server.faults
    assert masks(tmp_path / "out") == masks_from_disk


def test_a_url_that_is_missing_is_one_message(files, server, tmp_path):
    missing = segment(files, tmp_path / "out", f"{server.url}gone.tif")
    assert "gone.tif cannot be opened as a GeoTIFF on the network" in missing.error
    assert not list((tmp_path / "out").glob("scenes/*"))


def test_a_url_that_goes_away_leaves_nothing_half_and_may_come_back(
    files, server, tmp_path, masks_from_disk
):
    server.faults = [""] * 4 + ["error"] * 10_000
    lost = segment(files, tmp_path / "out", f"{server.url}scene.tif")
    assert "cannot be read" in lost.error
    assert not list((tmp_path / "out").glob("scenes/*"))
    server.faults = []
    assert not segment(files, tmp_path / "out", f"{server.url}scene.tif").error
    assert masks(tmp_path / "out") == masks_from_disk


def test_only_the_url_that_was_named_is_asked(files, server, tmp_path):
    named = NamedUrl(f"{server.url}scene.tif")
    (files / "other.vrt").write_text(
        f'<VRTDataset rasterXSize="640" rasterYSize="512"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>/vsicurl/{server.url}secret.tif</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with limited_cache(), named.allowed():
        assert Scene(named).size == (512, 640)
        with pytest.raises(ValueError, match="cannot be opened"):
            Scene(NamedUrl(f"{server.url}model.pth"))
        with pytest.raises(ValueError, match="reads pixels from the network"):
            Scene(files / "other.vrt")
    vrt = NamedUrl(f"{server.url}other.vrt")
    with limited_cache(), vrt.allowed(), pytest.raises(ValueError, match="as a GeoTIFF"):
        Scene(vrt)
    assert not any("secret" in path or "model" in path for _, path in server.requests)


def make_item(name, href, **asset):
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "properties": {"datetime": "2024-05-06T07:08:09Z"},
        "links": [],
        "assets": {
            "visual": {"href": href, "type": "image/tiff; application=geotiff", **asset},
            "thumbnail": {"href": "t.tif", "type": "image/tiff", "roles": ["thumbnail"]},
        },
    }


def test_an_item_a_collection_and_an_item_collection_name_their_scenes(tmp_path):
    for number in (1, 2):
        item = make_item(f"i{number}", f"./{number}.tif")
        (tmp_path / f"i{number}.json").write_text(json.dumps(item))
    collection = {
        "type": "Collection", "stac_version": "1.1.0", "id": "c", "description": "c",
        "license": "other",
        "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "item", "href": f"./i{number}.json"} for number in (1, 2)],
    }  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(collection))
    features = {"type": "FeatureCollection", "features": [make_item("i1", f"{tmp_path}/1.tif")]}
    (tmp_path / "f.geojson").write_text(json.dumps(features))
    expected = [
        SceneSource(str(tmp_path / f"{number}.tif"), time="2024-05-06T07:08:09+00:00")
        for number in (1, 2)
    ]
    assert find_sources([str(tmp_path / "i1.json")], StacReader()) == expected[:1]
    assert find_sources([str(tmp_path / "c.json")], StacReader()) == expected
    assert find_sources([str(tmp_path / "f.geojson")], StacReader()) == expected[:1]


def test_bands_are_chosen_by_the_names_that_the_item_gives_them(files, server, tmp_path):
    bands = [{"name": "B4", "eo:common_name": "red"}, {"name": "B3"}, {"name": "B2"}]
    item = make_item("a", f"{server.url}scene.tif", bands=bands)
    (files / "item.json").write_text(json.dumps(item))
    reader = StacReader(asset="visual", band_names=("B2", "B3", "red"))
    (source,) = find_sources([f"{server.url}item.json"], reader)
    assert source.bands == (3, 2, 1)
    (outcome,) = segment_locally(make_job(files / "model.pth", tmp_path / "out"), [source])
    (file,) = (tmp_path / "out").glob("scenes/*/item.json")
    written = json.loads(file.read_text())
    assert written["properties"]["datetime"] == "2024-05-06T07:08:09Z" and not outcome.error


MISTAKES = {
    "another asset": ({"asset": "nir"}, "no asset 'nir'; choose one with --asset: visual, thumb"),
    "another band": ({"band_names": ("B2", "B3", "B9")}, "has no band B2, B3, B9; its bands: none"),
    "a place on the server's disk": ({}, "scene.tif, which is no URL"),
    "another network": ({}, "only files, http and https can be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_item_that_does_not_fit_is_named(files, server, mistake):
    options, message = MISTAKES[mistake]
    href = {"a place on the server's disk": "file:///etc/scene.tif"}.get(mistake, "scene.tif")
    href = "s3://bucket/scene.tif" if mistake == "another network" else href
    write_noise(files / "noise.tif")
    (files / "bad.json").write_text(json.dumps(make_item("a", href)))
    place = str(files / "bad.json") if mistake == "another network" else f"{server.url}bad.json"
    with pytest.raises(ValueError, match=message):
        find_sources([place], StacReader(**options))


def test_what_is_no_stac_document_is_named(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="a.json is no STAC document"):
        find_sources([str(tmp_path / "a.json")], StacReader())
    with pytest.raises(OSError, match="missing.json cannot be read"):
        find_sources([str(tmp_path / "missing.json")], StacReader())
