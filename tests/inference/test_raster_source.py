"""Opening scenes: files of this machine, one raster each."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from command_process import run
from PIL import Image
from scene_files import write_scene

from cadformer_d2.inference import raster_source
from cadformer_d2.inference.raster import Scene
from cadformer_d2.inference.raster_segmentation import TilePlan, describe_job
from cadformer_d2.inference.tiling import Window

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


@pytest.fixture
def server():
    """The address of a web server of this machine, and the requests it has had."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", requests
        http.shutdown()


TILES = (
    "<GDAL_WMS><Service name='TMS'><ServerUrl>{url}/${{z}}.png</ServerUrl></Service><DataWindow>"
    "<UpperLeftX>0</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX><LowerRightY>"
    "0</LowerRightY><TileLevel>1</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"
)
REMOTE = [
    "/vsicurl/{url}/a.tif",
    "/vsicurl_streaming/{url}/a.tif",
    "{url}/a.tif",
    "/vsizip//vsicurl/{url}/a.zip/a.tif",
    "WMTS:{url}/capabilities",
    'ZARR:"/vsicurl/{url}/a"',
    TILES.replace("<", "&lt;").replace(">", "&gt;"),
]


def asks_through(source):
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand>"
        '<SourceProperties RasterXSize="64" RasterYSize="64" DataType="Byte" BlockXSize="64" '
        'BlockYSize="64"/></SimpleSource></VRTRasterBand></VRTDataset>'
    )


READ = """
import sys
from pathlib import Path
from cadformer_d2.inference.raster import Scene, limited_cache
from cadformer_d2.inference.tiling import Window
with limited_cache():
    for path in map(Path, sys.argv[1:]):
        try:
            Scene(path).read(Window(0, 0, 64, 64), (64, 64))
        except (ValueError, OSError) as error:
            print(error)
"""


def test_no_file_makes_requests(tmp_path, server):
    url, requests = server
    paths = []
    for number, text in enumerate([TILES, *map(asks_through, REMOTE)]):
        paths.append(tmp_path / f"{number}.tif")
        paths[-1].write_text(text.format(url=url))
    # GDAL loads its drivers once a process: in one that has them already it is too late.
    (tmp_path / "read.py").write_text(READ)
    result = run(tmp_path / "read.py", *paths)
    assert result.returncode == 0, result.stderr
    assert requests == []
    assert [line.split(" ")[0].rstrip(":") for line in result.stdout.splitlines()] == [
        str(path) for path in paths
    ]


@pytest.mark.parametrize("address", ["https://a.org/s.tif", "s3://b/s.tif", "/vsicurl/x"])
def test_an_address_is_refused_as_one(address):
    with pytest.raises(ValueError, match="download it first"):
        Scene(Path(address))


def test_a_container_of_rasters_says_what_to_give(tmp_path):
    path = tmp_path / "s.gpkg"
    for table, value in (("one", 10), ("two", 20)):
        with rasterio.open(
            path,
            "w",
            **{"driver": "GPKG", "height": 8, "width": 8, "count": 3, "dtype": "uint8"},
            **{"raster_table": table, "append_subdataset": "YES", "crs": "EPSG:3857"},
            transform=rasterio.Affine(1, 0, 0, 0, -1, 0),
        ) as target:
            target.write(np.full((3, 8, 8), value, np.uint8))
    with pytest.raises(ValueError, match="has 2 rasters; choose one of them instead, .*GPKG:"):
        Scene(path)
    pixels, _ = Scene(Path(f"GPKG:{path}:two")).read(Window(0, 0, 8, 8), (8, 8))
    assert abs(int(pixels.mean()) - 20) <= 3  # compressed with loss


def test_pages_of_a_tiff_say_which_is_read(tmp_path, caplog):
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    assert (Scene(tmp_path / "s.tif").read(Window(0, 0, 8, 8), (8, 8))[0] == 10).all()
    second = Path(f"GTIFF_DIR:2:{tmp_path / 's.tif'}")
    assert f"the first one is read; to read another, pass for example {second}" in caplog.text
    assert (Scene(second).read(Window(0, 0, 8, 8), (8, 8))[0] == 20).all()


def test_what_is_no_raster_is_named(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"s\.tif cannot be opened as a raster"):
        Scene(path)


def test_tiles_are_of_the_files_that_a_scene_points_to(tmp_path):
    source = write_scene(tmp_path / "source.tif")
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / "s.vrt", driver="VRT")
    before = describe_job(Scene(tmp_path / "s.vrt"), TilePlan())
    write_scene(source, compress="deflate")
    assert describe_job(Scene(tmp_path / "s.vrt"), TilePlan()) != before


@pytest.fixture
def small_cache(monkeypatch):
    monkeypatch.setattr(raster_source, "CACHED", 10_000)
    monkeypatch.setattr(raster_source, "TILE_ROWS", 4)


@pytest.mark.parametrize("largest_in_memory", [2**20, 0])
@pytest.mark.parametrize("driver", ["PNG", "GTiff"])
def test_what_is_slow_in_windows_is_decoded_once(
    tmp_path, caplog, monkeypatch, small_cache, driver, largest_in_memory
):
    monkeypatch.setattr(raster_source, "LARGEST_IN_MEMORY", largest_in_memory)
    monkeypatch.setattr(raster_source.tempfile, "tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    values = np.random.default_rng(0).integers(0, 256, (4, 50, 1200), dtype=np.uint8)
    profile = {"driver": driver, "height": 50, "width": 1200, "count": 4, "dtype": "uint8"}
    options = {"compress": "deflate"} if driver == "GTiff" else {}
    with rasterio.open(tmp_path / "s", "w", **profile, **options) as target:
        target.write(values)
    scene = Scene(tmp_path / "s")
    assert "cannot be read by windows; decoding it once into" in caplog.text
    assert scene.dataset.profile["tiled"]
    assert not list((tmp_path / "work").iterdir())  # also if the process is killed now
    pixels, is_valid = scene.read(Window(5, 6, 20, 1100), (20, 1100))
    np.testing.assert_array_equal(is_valid, values[3, 5:25, 6:1106] > 0)
    colours = np.where(is_valid, values[:3, 5:25, 6:1106], 0).transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels, colours)


def test_what_is_small_or_tiled_is_read_where_it_lies(tmp_path, caplog):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "s.png")
    assert Scene(tmp_path / "s.png").dataset.driver == "PNG"
    tiled = write_scene(tmp_path / "s.tif", tiled=True, compress="deflate")
    assert Scene(tiled).dataset.name == str(tiled) and not caplog.messages


def test_a_copy_that_fails_names_the_scene(tmp_path, small_cache):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "s.png")
    content = (tmp_path / "s.png").read_bytes()
    (tmp_path / "s.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"s\.png could not be decoded"):
        Scene(tmp_path / "s.png")
