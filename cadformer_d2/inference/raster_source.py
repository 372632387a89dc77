"""Opens a raster so that any window is fast to read, without access to the network.

Needs the extra ``geo``.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .named_url import NamedUrl

try:
    import rasterio
    import rasterio.shutil
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

logger = logging.getLogger(__name__)

# SystemError: when the source of a copy is truncated.
RASTER_ERRORS = (RasterioError, CPLE_BaseError, ValueError, TypeError, SystemError)
# Formats that can only be read from the beginning.
SEQUENTIAL_DRIVERS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "HEIF", "JPEGXL")
# A block of this size is decoded again for nearly every window.
LARGEST_BLOCK = 16 * 2**20  # bytes
# Full rows that a row of tiles needs; decoded again for each tile if the cache cannot hold them.
TILE_ROWS = 512
CACHED = 32 * 2**20  # bytes of pixels that surely fit GDAL's cache
LARGEST_IN_MEMORY = 256 * 2**20  # bytes of a copy; larger copies are on disk
# Names for which GDAL or rasterio would access the network.
REMOTE = re.compile(r"(?:https?|ftp|s3|gs|az|oss):|.*/vsi(?:curl|s3|gs|az|adls|oss|swift|.*hdfs)")
# Options that keep GDAL off the network, whatever source a file names: they disable the network
# file systems, and the drivers that bypass them.
NO_NETWORK = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none-is-allowed",
    "GDAL_SKIP": "HTTP WMS WMTS WCS EEDA EEDAI PLMOSAIC DAAS STACTA STACIT Zarr",
}


class RasterSource:
    """An open raster, or a tiled copy if its format cannot be read by windows."""

    def __init__(self, path: Path | NamedUrl):
        """
        Raises:
            ValueError: not a raster, a container of several rasters, or a source on the network
                that the user did not name.
            OSError: no space for the copy.
        """
        self.path = path
        self.dataset, self.files = open_source(path)
        _refuse_container(path, self.dataset)
        self.memory: rasterio.MemoryFile | None = None  # keeps the copy alive
        if _needs_tiled_copy(self.dataset):
            self.dataset = self._make_tiled_copy(path)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the pixels from others without reading them, for JSON."""
        return source_identity(self.path, self.files)

    def _make_tiled_copy(self, path: Path | NamedUrl) -> rasterio.DatasetReader:
        is_small = _num_bytes(self.dataset, self.dataset.height) <= LARGEST_IN_MEMORY
        place = "memory" if is_small else f"a temporary file in {tempfile.gettempdir()}"
        logger.warning(
            "%s (%s) cannot be read by windows; decoding it once into %s. "
            "'gdal_translate -of COG' avoids that",
            path,
            self.dataset.driver,
            place,
        )
        options = {"driver": "GTiff", "tiled": True, "bigtiff": "if_safer"}
        try:
            # A mask in a separate file would be left behind.
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                if is_small:
                    self.memory = rasterio.MemoryFile(ext=".tif")
                    rasterio.shutil.copy(self.dataset, self.memory.name, **options)
                    return rasterio.open(self.memory.name)
                # The name is removed at once, the data with the last open handle.
                with tempfile.TemporaryDirectory(prefix="cadformer_scene_") as folder:
                    copy = Path(folder) / "scene.tif"
                    rasterio.shutil.copy(self.dataset, copy, **options)
                    return rasterio.open(copy)
        except RASTER_ERRORS as error:
            reason = error.__cause__ or error
            raise OSError(
                f"{path} could not be decoded into {place}: {reason}; is it damaged, or is the "
                "disk full?"
            ) from error


def open_source(path: Path | NamedUrl) -> tuple[rasterio.DatasetReader, list[Path]]:
    """The open raster, and the local files with its pixels.

    Raises:
        ValueError: not a raster, or a source on the network that the user did not name.
    """
    if isinstance(path, NamedUrl):
        try:
            return rasterio.open(path.vsi_name, driver="GTiff"), []
        except RASTER_ERRORS as error:
            raise ValueError(
                f"{path} cannot be opened as a GeoTIFF on the network: {error}"
            ) from error
    _refuse_remote(path, str(path))
    try:
        dataset = rasterio.open(path)
    except RASTER_ERRORS as error:
        raise ValueError(f"{path} cannot be opened as a raster: {error}") from error
    for name in dataset.files:
        _refuse_remote(path, name)
    return dataset, [Path(name) for name in dataset.files]  # itself and its sources


def source_identity(path: Path | NamedUrl, files: Sequence[Path]) -> dict[str, Any]:
    """What tells a raster's pixels from others without reading them, for JSON.

    Args:
        files: the local files with the pixels, of a VRT or of a raster inside a container too.

    Raises:
        OSError: the server does not answer.
    """
    if isinstance(path, NamedUrl):
        return {"scene": str(path), **path.ask_identity()}
    found = [file.stat() for file in files if file.exists()]
    return {
        "scene": str(path.resolve()),
        "changed": max((file.st_mtime_ns for file in found), default=0),
        "bytes": sum(file.st_size for file in found),
    }


def _refuse_remote(path: Path, source: str) -> None:
    """Raise ValueError if a scene or a source of its pixels is on the network."""
    if REMOTE.match(source):
        raise ValueError(
            f"{path} reads pixels from the network ({source}); only local files are supported: "
            "download it first"
        )


def _refuse_container(path: Path | NamedUrl, dataset: rasterio.DatasetReader) -> None:
    """Raise ValueError for a file with several rasters or none."""
    if dataset.count:
        _warn_of_others(path, dataset)
        return
    if dataset.subdatasets:
        several = ", ".join(dataset.subdatasets[:3])
        raise ValueError(
            f"{path} has {len(dataset.subdatasets)} rasters; choose one of them instead, for "
            f"example {several}"
        )
    raise ValueError(f"{path} has no band of pixels")


def _warn_of_others(path: Path | NamedUrl, dataset: rasterio.DatasetReader) -> None:
    """Warn that a container has other rasters or bands that are not colours."""
    if len(dataset.subdatasets) > 1:
        logger.warning(
            "%s has %d rasters and the first one is read; to read another, pass for example %s",
            path,
            len(dataset.subdatasets),
            dataset.subdatasets[1],
        )
    if steps := dataset.tags().get("NETCDF_DIM_EXTRA"):
        logger.warning("%s has bands that are steps along %s, not colours", path, steps)


def _needs_tiled_copy(dataset: rasterio.DatasetReader) -> bool:
    """Whether reading a window requires decoding everything before or beside it."""
    if _num_bytes(dataset, dataset.height) <= CACHED:
        return False
    if dataset.driver in SEQUENTIAL_DRIVERS:
        return True
    height, width = dataset.block_shapes[0]
    if dataset.driver != "GTiff" or width < dataset.width:
        return False
    is_compressed = dataset.compression is not None
    return _num_bytes(dataset, height) > LARGEST_BLOCK or (
        is_compressed and _num_bytes(dataset, TILE_ROWS) > CACHED
    )


def _num_bytes(dataset: rasterio.DatasetReader, rows: int) -> int:
    """Bytes of that many full rows, all bands."""
    name = dataset.dtypes[0]
    # numpy has no complex_int16.
    pixel = np.dtype("complex64" if name == "complex_int16" else name)
    return rows * dataset.width * dataset.count * pixel.itemsize
