"""The mask of a scene as a Cloud-Optimized GeoTIFF. Needs the extra ``geo``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError

from ..atomic_files import replace_atomically
from .raster import BLOCK_SIDE, Scene, raster_window
from .tiling import Window, block_windows

NODATA = 255  # of the mask: pixels where the scene has none


class MaskFile:
    """A mask of a scene, written block by block: 1 target, 0 not, 255 where there are no data."""

    def __init__(self, scene: Scene, folder: Path):
        """
        Args:
            scene: whose CRS, transform and size the mask has.
            folder: for the work.
        """
        self.plain = folder / "mask.tif"
        self.cloud_optimized = folder / "mask_cog.tif"
        profile = {
            "driver": "GTiff",
            "dtype": "uint8",
            "count": 1,
            "height": scene.size[0],
            "width": scene.size[1],
            **placed_like(scene),
            "nodata": NODATA,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "deflate",
            "bigtiff": "if_safer",
        }
        with reported_failure(self.plain):
            self.dataset = rasterio.open(self.plain, "w", **profile)
            if scene.dataset.rpcs is not None:
                self.dataset.rpcs = scene.dataset.rpcs
        self.value_counts = np.zeros(NODATA + 1, np.int64)

    def write(self, block: Window, mask: np.ndarray, is_valid: np.ndarray) -> None:
        """Write a block; mask and validity are (block.height, block.width) bool."""
        values = np.where(is_valid, mask, NODATA).astype(np.uint8)
        self.value_counts += np.bincount(values.ravel(), minlength=NODATA + 1)
        with reported_failure(self.plain):
            self.dataset.write(values, 1, window=raster_window(block))

    def finish(self, path: Path) -> None:
        """Put the mask under its name as a Cloud-Optimized GeoTIFF.

        Raises:
            OSError: it could not be written; nothing is under that name then.
        """
        with reported_failure(self.plain):
            self.dataset.close()
        with replace_atomically(path) as temporary, reported_failure(self.cloud_optimized):
            # Its overviews are made by the driver: nearest keeps a mask a mask. In the work folder,
            # where the driver may leave its own temporary files.
            rasterio.shutil.copy(
                self.plain,
                self.cloud_optimized,
                driver="COG",
                compress="DEFLATE",
                overview_resampling="NEAREST",
            )
            # On a disk that gets full at the very end GDAL reports success.
            if not np.array_equal(count_values(self.cloud_optimized), self.value_counts):
                raise OSError("it does not read back as it was written; is the disk full?")
            self.cloud_optimized.replace(temporary)


def placed_like(scene: Scene) -> dict[str, Any]:
    """What puts a file where the scene lies, for rasterio."""
    placement = scene.placement
    if placement.gcps:
        return {"crs": placement.crs, "gcps": list(placement.gcps)}
    return {"crs": placement.crs, "transform": placement.transform}


def count_values(path: Path) -> np.ndarray:
    """How often each of the 256 values occurs in an 8-bit raster, read block by block."""
    counts = np.zeros(NODATA + 1, np.int64)
    with rasterio.open(path) as dataset:
        for block in block_windows(dataset.shape, BLOCK_SIDE):
            values = dataset.read(window=raster_window(block))
            counts += np.bincount(values.ravel(), minlength=NODATA + 1)
    return counts


@contextmanager
def reported_failure(path: Path) -> Iterator[None]:
    """Turn whatever rasterio raises when a file cannot be written into an OSError."""
    try:
        yield
    # Not all of GDAL's errors come as rasterio's own: a full disk does not when a file is copied.
    except (rasterio.errors.RasterioError, CPLE_BaseError) as error:
        reason = error.__cause__ or error
        raise OSError(f"{path} could not be written: {reason}; is the disk full?") from error
