"""Opening scenes: files of this machine, one raster each."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from scene_files import write_scene

from cadformer_d2.inference.raster import Scene, limited_cache
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


@pytest.mark.parametrize("text", [TILES, *map(asks_through, REMOTE)])
def test_no_file_makes_requests(tmp_path, server, text):
    url, requests = server
    path = tmp_path / "s.tif"
    path.write_text(text.format(url=url))
    with limited_cache(), pytest.raises((ValueError, OSError), match=r"s\.tif"):
        Scene(path).read(Window(0, 0, 64, 64), (64, 64))
    assert requests == []


@pytest.mark.parametrize("address", ["https://a.org/s.tif", "s3://bucket/s.tif", "/vsicurl/x"])
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
    with pytest.raises(ValueError, match=r"holds 2 rasters; give one of them, such as 'GPKG:.*one"):
        Scene(path)
    pixels, _ = Scene(Path(f"GPKG:{path}:two")).read(Window(0, 0, 8, 8), (8, 8))
    assert abs(int(pixels.mean()) - 20) <= 3  # compressed with loss


def test_pages_of_a_tiff_say_which_is_read(tmp_path, caplog):
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    assert (Scene(tmp_path / "s.tif").read(Window(0, 0, 8, 8), (8, 8))[0] == 10).all()
    assert f"another is given as 'GTIFF_DIR:2:{tmp_path / 's.tif'}'" in caplog.text
    second = Path(f"GTIFF_DIR:2:{tmp_path / 's.tif'}")
    assert (Scene(second).read(Window(0, 0, 8, 8), (8, 8))[0] == 20).all()


def test_what_is_no_raster_is_named(tmp_path):
    (tmp_path / "s.vrt").write_text('<VRTDataset rasterXSize="4" rasterYSize="4"></VRTDataset>')
    with pytest.raises(ValueError, match=r"s\.vrt has no band of pixels"):
        Scene(tmp_path / "s.vrt")
    path = write_scene(tmp_path / "s.tif")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"s\.tif cannot be opened as a raster"):
        Scene(path)
