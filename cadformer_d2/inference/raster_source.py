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

RASTER_ERRORS = (RasterioError, CPLE_BaseError, ValueError, TypeError)
# Formats that can be read from their beginning only.
SEQUENTIAL_DRIVERS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "AVIF", "HEIF", "JPEGXL")
# A block that takes this much is decoded anew for nearly every window.
LARGEST_BLOCK = 16 * 2**20  # bytes
# What a file that only points to others may not point to.
REMOTE = re.compile(rb"https?://|ftp://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)", re.I)
POINTERS = (b"<VRTDataset", b"<GDAL_WMS", b"<GDAL_WMTS", b"<WMS_Capabilities")
SOURCES = re.compile(rb"<Source(?:Filename|Dataset)([^>]*)>([^<]+)<", re.I)
MOST_BYTES_OF_A_POINTER = 64 * 2**20


class RasterSource:
    """An open raster; of a format that cannot be entered in the middle, a tiled copy."""

    def __init__(self, path: Path):
        """
        Raises:
            ValueError: not a raster, one of several in a file, or one that points to the network.
            OSError: no room for the copy.
        """
        refuse_remote_sources(path, depth=5)
        try:
            self.dataset = rasterio.open(path)
        except RASTER_ERRORS as error:
            raise ValueError(f"{path} cannot be opened as a raster: {error}") from error
        refuse_container(path, self.dataset)
        self.folder: tempfile.TemporaryDirectory | None = None
        if cannot_be_entered(self.dataset):
            self.folder = tempfile.TemporaryDirectory(prefix="cadformer_scene_")
            self.dataset = self.tiled_copy(path, Path(self.folder.name) / "scene.tif")

    def tiled_copy(self, path: Path, copy: Path) -> rasterio.DatasetReader:
        logger.warning(
            "%s (%s) cannot be read by windows; it is decoded once into a temporary file. "
            "'gdal_translate -of COG' saves that",
            path,
            self.dataset.driver,
        )
        try:
            rasterio.shutil.copy(self.dataset, copy, driver="GTiff", tiled=True, bigtiff="if_safer")
            return rasterio.open(copy)
        except RASTER_ERRORS as error:
            reason = error.__cause__ or error
            raise OSError(
                f"{path} could not be decoded into {copy.parent}: {reason}; is it damaged, or is "
                "the disk full?"
            ) from error


def refuse_container(path: Path, dataset: rasterio.DatasetReader) -> None:
    """Raise ValueError for a file of several rasters, or of none."""
    if dataset.count:
        return
    if dataset.subdatasets:
        several = ", ".join(dataset.subdatasets[:3])
        raise ValueError(
            f"{path} holds {len(dataset.subdatasets)} rasters; name one of them in its place, for "
            f"example {several}"
        )
    raise ValueError(f"{path} holds no band of pixels")


def cannot_be_entered(dataset: rasterio.DatasetReader) -> bool:
    """Whether a window in the middle costs about as much as all that lies before it."""
    if dataset.driver in SEQUENTIAL_DRIVERS:
        return True
    height, width = dataset.block_shapes[0]
    size = height * width * dataset.count * np.dtype(dataset.dtypes[0]).itemsize
    return dataset.driver == "GTiff" and size > LARGEST_BLOCK


def refuse_remote_sources(path: Path, *, depth: int) -> None:
    """Raise ValueError where a local file makes GDAL ask the network, which nobody has asked for.

    A URL that the user gives is the user's own wish.

    Args:
        depth: of files that point to files.
    """
    if not path.is_file() or path.stat().st_size > MOST_BYTES_OF_A_POINTER:
        return
    with path.open("rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
        if not any(pointer in start for pointer in POINTERS):
            return
        content = start + file.read()
    if REMOTE.search(content):
        raise ValueError(
            f"{path} takes its pixels from the network; name their address itself, or fetch them "
            "first"
        )
    for attributes, name in SOURCES.findall(content):
        source = Path(name.decode("utf-8", "replace").strip())
        nested = path.parent / source if b'relativeToVRT="1"' in attributes else source
        if depth:
            refuse_remote_sources(nested, depth=depth - 1)
