"""Opening rasters: files of this machine, one raster each."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import rasterio

logger = logging.getLogger(__name__)

# What GDAL, or rasterio in front of it, would ask the network for.
REMOTE = re.compile(r"(https?|ftp|s3|gs|az|oss):|.*/vsi(curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)")
# GDAL options under which no file makes GDAL ask the network, whatever it names as its source: the
# file systems that would are shut, and so are the drivers that ask past them.
NO_NETWORK = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none-is-allowed",
    "GDAL_SKIP": "HTTP WMS WMTS WCS EEDA EEDAI PLMOSAIC DAAS STACTA STACIT Zarr",
}


def opened_raster(path: Path) -> Any:
    """A rasterio dataset that has bands.

    Raises:
        ValueError: no raster, a place in the network, or a container of several rasters.
    """
    refuse_remote(path, str(path))
    try:
        dataset = rasterio.open(path)
    except (rasterio.errors.RasterioError, TypeError) as error:
        raise ValueError(f"{path} cannot be opened as a raster: {error}") from error
    for source in dataset.files:
        refuse_remote(path, source)
    inside = dataset.subdatasets
    if dataset.count == 0 and inside:
        raise ValueError(
            f"{path} holds {len(inside)} rasters; give one of them, such as '{inside[0]}'"
        )
    if dataset.count == 0 or 0 in dataset.shape:
        raise ValueError(f"{path} has no band of pixels")
    if len(inside) > 1:
        logger.warning(
            f"{path} holds {len(inside)} rasters, of which the first is read; another is given "
            f"as '{inside[1]}'"
        )
    if steps := dataset.tags().get("NETCDF_DIM_EXTRA"):
        logger.warning(f"{path}: its {dataset.count} bands are steps along {steps}, not colours")
    return dataset


def refuse_remote(path: Path, source: str) -> None:
    """
    Raises:
        ValueError: a source of a scene lies in the network.
    """
    if REMOTE.match(source):
        raise ValueError(
            f"{path} lies in the network, or takes its pixels from there ({source}); scenes are "
            "read from this machine's files only: download it first"
        )
