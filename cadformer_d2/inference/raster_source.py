"""Opening a raster so that any window of it can be read soon, and nothing else is.

Needs the extra ``geo``.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

import numpy as np

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

# SystemError: of a copy whose source breaks off.
RASTER_ERRORS = (RasterioError, CPLE_BaseError, ValueError, TypeError, SystemError)
# Formats that can be read from their beginning only.
SEQUENTIAL_DRIVERS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "HEIF", "JPEGXL")
# A block that takes this much is decoded anew for nearly every window.
LARGEST_BLOCK = 16 * 2**20  # bytes
# Rows of whole width that a row of tiles needs; decoded anew for each tile if the cache cannot hold
# them.
TILE_ROWS = 512
CACHED = 32 * 2**20  # bytes of pixels that GDAL's cache holds for sure
LARGEST_IN_MEMORY = 256 * 2**20  # bytes of a copy; larger ones lie on disk
# What GDAL, or rasterio before it, would ask the network for.
REMOTE = re.compile(r"(?:https?|ftp|s3|gs|az|oss):|.*/vsi(?:curl|s3|gs|az|adls|oss|swift|.*hdfs)")
# Options under which GDAL asks the network for nothing, whatever a file names as its source: the
# file systems that would are shut, and so are the drivers that ask past them.
NO_NETWORK = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none-is-allowed",
    "GDAL_SKIP": "HTTP WMS WMTS WCS EEDA EEDAI PLMOSAIC DAAS STACTA STACIT Zarr",
}


class RasterSource:
    """An open raster; of a format that cannot be entered in the middle, a tiled copy."""

    def __init__(self, path: Path):
        """
        Raises:
            ValueError: not a raster, one of several in a file, or one that lies in the network.
            OSError: no room for the copy.
        """
        refuse_remote(path, str(path))
        try:
            self.dataset = rasterio.open(path)
        except RASTER_ERRORS as error:
            raise ValueError(f"{path} cannot be opened as a raster: {error}") from error
        self.files = [Path(name) for name in self.dataset.files]  # it, and what it points to
        for name in self.dataset.files:
            refuse_remote(path, name)
        refuse_container(path, self.dataset)
        self.memory: rasterio.MemoryFile | None = None  # holds the copy
        if cannot_be_entered(self.dataset):
            self.dataset = self.tiled_copy(path)

    def tiled_copy(self, path: Path) -> rasterio.DatasetReader:
        is_small = num_bytes(self.dataset, self.dataset.height) <= LARGEST_IN_MEMORY
        place = "memory" if is_small else f"a temporary file in {tempfile.gettempdir()}"
        logger.warning(
            "%s (%s) cannot be read by windows; it is decoded once into %s. "
            "'gdal_translate -of COG' saves that",
            path,
            self.dataset.driver,
            place,
        )
        options = {"driver": "GTiff", "tiled": True, "bigtiff": "if_safer"}
        try:
            # A mask in a file of its own would be left behind.
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                if is_small:
                    self.memory = rasterio.MemoryFile(ext=".tif")
                    rasterio.shutil.copy(self.dataset, self.memory.name, **options)
                    return rasterio.open(self.memory.name)
                # Its name goes at once; its bytes go with the last process that has it open.
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


def refuse_remote(path: Path, source: str) -> None:
    """Raise ValueError where a scene, or what it takes its pixels from, lies in the network."""
    if REMOTE.match(source):
        raise ValueError(
            f"{path} takes its pixels from the network ({source}); scenes are read from this "
            "machine's disk only: fetch them first"
        )


def refuse_container(path: Path, dataset: rasterio.DatasetReader) -> None:
    """Raise ValueError for a file of several rasters, or of none."""
    if dataset.count:
        warn_of_others(path, dataset)
        return
    if dataset.subdatasets:
        several = ", ".join(dataset.subdatasets[:3])
        raise ValueError(
            f"{path} holds {len(dataset.subdatasets)} rasters; name one of them in its place, for "
            f"example {several}"
        )
    raise ValueError(f"{path} holds no band of pixels")


def warn_of_others(path: Path, dataset: rasterio.DatasetReader) -> None:
    """What a container shows first may not be what was meant."""
    if len(dataset.subdatasets) > 1:
        logger.warning(
            "%s holds %d rasters and its first is read; another is named as %s",
            path,
            len(dataset.subdatasets),
            dataset.subdatasets[1],
        )
    if steps := dataset.tags().get("NETCDF_DIM_EXTRA"):
        logger.warning("%s has bands that are steps along %s, not colours", path, steps)


def cannot_be_entered(dataset: rasterio.DatasetReader) -> bool:
    """Whether a window in the middle costs about as much as all that lies before or beside it."""
    if num_bytes(dataset, dataset.height) <= CACHED:
        return False
    if dataset.driver in SEQUENTIAL_DRIVERS:
        return True
    height, width = dataset.block_shapes[0]
    if dataset.driver != "GTiff" or width < dataset.width:
        return False
    is_compressed = dataset.compression is not None
    return num_bytes(dataset, height) > LARGEST_BLOCK or (
        is_compressed and num_bytes(dataset, TILE_ROWS) > CACHED
    )


def num_bytes(dataset: rasterio.DatasetReader, rows: int) -> int:
    """Bytes of that many rows of whole width, all bands."""
    name = dataset.dtypes[0]
    # Of which numpy has no counterpart.
    pixel = np.dtype("complex64" if name == "complex_int16" else name)
    return rows * dataset.width * dataset.count * pixel.itemsize
