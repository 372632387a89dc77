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

NODATA = 255  # value of the mask where the scene has no data


class MaskFile:
    """A mask of a scene, written block by block: 1 target, 0 background, 255 no data."""

    def __init__(self, scene: Scene, folder: Path):
        """
        Args:
            scene: gives the mask its CRS, transform and size.
            folder: for unfinished files.
        """
        self.plain = folder / "mask.tif"
        self.cloud_optimized = folder / "mask_cog.tif"
        profile = {
            "driver": "GTiff",
            "dtype": "uint8",
            "count": 1,
            "height": scene.size[0],
            "width": scene.size[1],
            **_placement_profile(scene),
            "nodata": NODATA,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "deflate",
            "bigtiff": "if_safer",
        }
        with report_write_failure(self.plain):
            self.dataset = rasterio.open(self.plain, "w", **profile)
            if scene.dataset.rpcs is not None:
                self.dataset.rpcs = scene.dataset.rpcs
        self.value_counts = np.zeros(NODATA + 1, np.int64)

    def write(self, block: Window, mask: np.ndarray, is_valid: np.ndarray) -> None:
        """Write a block; mask and validity are (block.height, block.width) bool."""
        values = np.where(is_valid, mask, NODATA).astype(np.uint8)
        self.value_counts += np.bincount(values.ravel(), minlength=NODATA + 1)
        with report_write_failure(self.plain):
            self.dataset.write(values, 1, window=raster_window(block))

    def finish(self, path: Path) -> None:
        """Write the mask as a Cloud-Optimized GeoTIFF.

        Raises:
            OSError: it could not be written; no file of that name is left.
        """
        with report_write_failure(self.plain):
            self.dataset.close()
        with replace_atomically(path) as temporary, report_write_failure(self.cloud_optimized):
            # Nearest resampling keeps the overviews binary. Written in the work folder, because the
            # driver may leave temporary files.
            rasterio.shutil.copy(
                self.plain,
                self.cloud_optimized,
                driver="COG",
                compress="DEFLATE",
                overview_resampling="NEAREST",
            )
            # GDAL reports success if the disk becomes full at the very end.
            if not np.array_equal(count_values(self.cloud_optimized), self.value_counts):
                raise OSError("it does not read back as it was written; is the disk full?")
            self.cloud_optimized.replace(temporary)


def _placement_profile(scene: Scene) -> dict[str, Any]:
    """The scene's georeference for rasterio."""
    placement = scene.placement
    if placement.gcps:
        return {"crs": placement.crs, "gcps": list(placement.gcps)}
    return {"crs": placement.crs, "transform": placement.transform}


def count_values(path: Path) -> np.ndarray:
    """Count each of the 256 values of an 8-bit raster, block by block."""
    counts = np.zeros(NODATA + 1, np.int64)
    with rasterio.open(path) as dataset:
        for block in block_windows(dataset.shape, BLOCK_SIDE):
            values = dataset.read(window=raster_window(block))
            counts += np.bincount(values.ravel(), minlength=NODATA + 1)
    return counts


@contextmanager
def report_write_failure(path: Path) -> Iterator[None]:
    """Turn whatever rasterio raises when a file cannot be written into an OSError."""
    try:
        yield
    # Some of GDAL's errors are not rasterio's, for example a full disk during a copy.
    except (rasterio.errors.RasterioError, CPLE_BaseError) as error:
        reason = error.__cause__ or error
        raise OSError(f"{path} could not be written: {reason}; is the disk full?") from error
