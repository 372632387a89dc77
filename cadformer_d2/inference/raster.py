"""The only file that opens GeoTIFFs: scenes read by windows as 8-bit RGB, masks written as maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..atomic_files import written_whole
from .tiling import Window, block_windows

try:
    import rasterio
    import rasterio.shutil
    from rasterio._err import CPLE_BaseError
    from rasterio.enums import Resampling
    from rasterio.warp import transform as transform_points
    from rasterio.windows import Window as RasterWindow

    from .bands import alpha_band, alpha_spoils_masks, colour_bands, palette_of, white_value
    from .sources import NO_NETWORK, opened_raster
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

BLOCK_SIDE = 1024  # pixels of a raster that are put together, or read, at once
OVERVIEW_SIDE = 1024  # pixels of the reduced picture that the stretch is computed from
LARGEST_READ = 2048  # side in pixels of what is read to be averaged here
DEFAULT_PERCENTILES = (2.0, 98.0)
NODATA = 255  # of the mask: pixels where the scene has none
# Of the blocks that GDAL keeps in memory. Its own default, a share of the machine's memory, would
# let memory grow with the scene.
CACHE_MEGABYTES = 64
# Of the ellipsoid WGS 84.
EQUATOR_RADIUS, ECCENTRICITY_SQUARED = 6_378_137.0, 0.00669437999014


class Scene:
    """A raster opened for reading, whose pixels come out as 8-bit RGB."""

    def __init__(
        self,
        path: Path,
        *,
        bands: tuple[int, ...] | None = None,
        percentiles: tuple[float, float] | None = None,
    ):
        """
        Args:
            path: anything GDAL reads.
            bands: three numbers, from 1, that serve as red, green and blue; None: those tagged
                so, else the first three, or the first for all three where there are fewer, in its
                colours if it has a palette.
            percentiles: of each band that become black and white; None: 8-bit as it is, other
                types from the 2nd to the 98th.

        Raises:
            ValueError: not a raster, bands it does not have, percentiles that cannot be, or
                nothing to stretch.
        """
        if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles are {percentiles}; needed: 0 <= low < high <= 100")
        self.path = path
        self.dataset = opened_raster(path)
        self.bands = colour_bands(self.dataset, path, bands)
        self.alpha = alpha_band(self.dataset, path, self.bands)
        self.alpha_is_colour = alpha_spoils_masks(self.dataset, self.bands)
        self.palette = None if bands else palette_of(self.dataset, path, self.bands[0])
        types = {self.dataset.dtypes[band - 1] for band in self.bands}
        self.has_floats = any(np.dtype(name).kind == "f" for name in types)
        self.limits = None
        white = None if self.palette is not None else white_value(self.dataset, self.bands[0])
        # GDAL mixes the numbers of a palette, rounds those of few bits, and weighs by transparency.
        self.resamples_itself = (
            self.palette is not None or white is not None or self.alpha_is_colour
        )
        if percentiles is None and white is not None:
            self.limits = np.array([[0.0, white]] * 3)
        elif percentiles is not None or (types != {"uint8"} and self.palette is None):
            self.limits = self.stretch_limits(percentiles or DEFAULT_PERCENTILES)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.dataset.height, self.dataset.width

    @property
    def pixel_metres(self) -> tuple[float, float] | None:
        """(height, width) of the middle pixel on the ground; None where no CRS is known."""
        if self.dataset.crs is None:
            return None
        return ground_size(self.dataset.transform, self.dataset.crs, size=self.size)

    def stretch_limits(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Values (3, 2) of the bands that become black and white, from a reduced picture."""
        whole = Window(0, 0, *self.size)
        shrink = max(1.0, max(self.size) / OVERVIEW_SIDE)
        shape = (max(1, int(self.size[0] / shrink)), max(1, int(self.size[1] / shrink)))
        values = self.read_bands(whole, shape)
        is_valid = self.has_data(whole, shape) & np.isfinite(values).all(axis=0)
        if not is_valid.any():
            raise ValueError(f"{self.path} has no valid pixel")
        return np.percentile(values[:, is_valid], percentiles, axis=1).T

    def read_bands(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """Values (3, height, width) of the chosen bands, resampled to ``shape``.

        Raises:
            OSError: the file is damaged there.
        """
        if not self.resamples_itself:
            return self.read_pixels(self.bands, window, shape, Resampling.bilinear)
        native = tuple(
            min(length, max(wanted, LARGEST_READ))
            for length, wanted in zip((window.height, window.width), shape, strict=True)
        )
        values = self.read_pixels(self.bands, window, native)
        if self.palette is not None:
            values = self.palette[:3, values[0]]
        return resize_values(values, shape)

    def read_pixels(
        self,
        bands: int | tuple[int, ...],
        window: Window,
        shape: tuple[int, ...],
        resampling: Resampling = Resampling.nearest,
    ) -> np.ndarray:
        """(height, width) values of a band, or (bands, height, width) of several."""
        with reported_damage(self.path, window):
            return self.dataset.read(
                bands,
                window=raster_window(window),
                out_shape=shape if isinstance(bands, int) else (len(bands), *shape),
                resampling=resampling,
            )

    def has_data(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) bool: neither nodata nor transparent."""
        if self.alpha_is_colour:
            return np.ones(shape, bool)
        with reported_damage(self.path, window):
            has_data = self.dataset.dataset_mask(window=raster_window(window), out_shape=shape) > 0
        if self.alpha is not None:  # of which GDAL makes a mask in some rasters only
            has_data &= self.read_pixels(self.alpha, window, shape) > 0
        if self.palette is not None and not self.palette[3].all():
            has_data &= self.palette[3, self.read_pixels(self.bands[0], window, shape)] > 0
        return has_data

    def is_valid(self, window: Window) -> np.ndarray:
        """(window.height, window.width) bool: there are data, and they are numbers."""
        shape = (window.height, window.width)
        is_valid = self.has_data(window, shape)
        if self.has_floats:
            is_valid &= np.isfinite(self.read_bands(window, shape)).all(axis=0)
        return is_valid

    def read(self, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """
        Args:
            window: in pixels of the scene.
            shape: (height, width) to which it is resampled.

        Returns:
            RGB (height, width, 3) uint8, black where invalid, and validity (height, width) bool.
        """
        values = self.read_bands(window, shape).astype(np.float32)
        if self.limits is not None:
            low, high = self.limits[:, :1, None], self.limits[:, 1:, None]
            values = (values - low) / np.maximum(high - low, 1e-12) * 255
        is_valid = self.has_data(window, shape) & np.isfinite(values).all(axis=0)
        values = np.where(is_valid, values, 0)
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)), is_valid


def resize_values(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(bands, height, width) float32 of ``shape``, averaged over what a new pixel covers."""
    if values.shape[1:] == shape:
        return values
    tensor = torch.from_numpy(values.astype(np.float32))[None]
    return F.interpolate(tensor, size=shape, mode="bilinear", antialias=True)[0].numpy()


@contextmanager
def reported_damage(path: Path, window: Window) -> Iterator[None]:
    """Turn a read that fails into an OSError that says where."""
    try:
        yield
    except rasterio.errors.RasterioIOError as error:
        raise OSError(f"{path} is damaged: {window} cannot be read ({error})") from error


def raster_window(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


def limited_cache() -> rasterio.Env:
    """A context in which GDAL's memory does not depend on the machine's, and no file makes it ask
    the network; to be entered before anything is opened."""
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES, **NO_NETWORK)


def ground_size(transform: Any, crs: Any, *, size: tuple[int, int]) -> tuple[float, float]:
    """Height and width in metres on the ground of the pixel in the middle of a raster.

    A web map's unit is no metre on the ground, and a degree is none at all.

    Args:
        transform: affine, from pixels to the CRS.
        size: (height, width) of the raster, pixels.
    """
    row, column = size[0] / 2, size[1] / 2
    points = [transform @ point for point in ((column, row), (column, row + 1), (column + 1, row))]
    places = transform_points(crs, "EPSG:4326", *np.transpose(points))
    here, below, beside = np.radians(np.transpose(places))  # (longitude, latitude) each
    shrink = 1 - ECCENTRICITY_SQUARED * math.sin(here[1]) ** 2
    # Metres a radian to the east and to the north.
    east = EQUATOR_RADIUS / math.sqrt(shrink) * math.cos(here[1])
    north = EQUATOR_RADIUS * (1 - ECCENTRICITY_SQUARED) / shrink**1.5
    height, width = (math.hypot(*((there - here) * (east, north))) for there in (below, beside))
    return height, width


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
            "crs": scene.dataset.crs,
            "transform": scene.dataset.transform,
            "nodata": NODATA,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "deflate",
            "bigtiff": "if_safer",
        }
        with reported_failure(self.plain):
            self.dataset = rasterio.open(self.plain, "w", **profile)
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
        with written_whole(path) as temporary, reported_failure(self.cloud_optimized):
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


def count_values(path: Path) -> np.ndarray:
    """How often each of the 256 values occurs in an 8-bit raster, read block by block."""
    counts = np.zeros(NODATA + 1, np.int64)
    with rasterio.open(path) as dataset:
        for block in block_windows(dataset.shape, BLOCK_SIDE):
            values = dataset.read(1, window=raster_window(block))
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
