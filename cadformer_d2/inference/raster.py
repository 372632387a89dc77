"""Scenes read by windows as 8-bit RGB. Needs the extra ``geo``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .bands import alpha_bands, colour_bands, few_bit_limits, palette_of
from .placement import Placement
from .raster_source import NO_NETWORK, RasterSource
from .tiling import Window

try:
    import rasterio
    from rasterio.enums import MaskFlags, Resampling
    from rasterio.windows import Window as RasterWindow
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

logger = logging.getLogger(__name__)

BLOCK_SIDE = 1024  # pixels of a raster that are put together, or read, at once
LARGEST_READ = 2048  # side in pixels of what is read to be averaged here and not by GDAL
OVERVIEW_SIDE = 1024  # pixels of the reduced picture that the stretch is computed from
DEFAULT_PERCENTILES = (2.0, 98.0)
# Of the blocks that GDAL keeps in memory. Its own default, a share of the machine's memory, would
# let memory grow with the scene.
CACHE_MEGABYTES = 64
# Of the pixels of an alpha band that are neither clear nor opaque; beyond, it is hardly one.
LARGEST_SHARE_BETWEEN = 0.05


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
            bands: three numbers, from 1, that serve as red, green and blue; None: those that the
                file calls so, else 1, 2, 3, or the first for all three where there are fewer, in
                its colours if it has a palette. A band that is named is no transparency.
            percentiles: of each band that become black and white; None: 8-bit as it is, other
                types from the 2nd to the 98th.

        Raises:
            ValueError: not a raster, bands it does not have, values that are no colours, a place
                that cannot be, percentiles that cannot be, or nothing to stretch.
        """
        if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles are {percentiles}; needed: 0 <= low < high <= 100")
        self.source = RasterSource(path)  # holds a temporary copy, where one was made
        self.dataset = self.source.dataset
        self.path = path
        self.bands = colour_bands(path, self.dataset, bands)
        types = {self.dataset.dtypes[band - 1] for band in self.bands}
        # The band that says where the scene is transparent, unless it is one of the colours.
        alphas = alpha_bands(self.dataset)
        self.alpha = min(alphas - set(self.bands), default=None)
        self.gdal_masks_by_a_colour = not alphas.isdisjoint(self.bands) and any(
            MaskFlags.alpha in flags for flags in self.dataset.mask_flag_enums
        )
        self.placement = Placement.of(self.dataset)
        self.palette = None if bands else palette_of(self.dataset)
        self.has_floats = any(np.dtype(name).kind == "f" for name in types)
        few_bits = few_bit_limits(self.dataset, self.bands) if self.palette is None else None
        # GDAL would mix the numbers of a palette, round what has few bits, and weigh colours by a
        # band that is one of them.
        self.averages_itself = (
            self.palette is not None or few_bits is not None or self.gdal_masks_by_a_colour
        )
        if percentiles is None and types != {"uint8"} and self.palette is None:
            percentiles = DEFAULT_PERCENTILES
        self.limits = few_bits if percentiles is None else self.stretch_limits(percentiles)
        self.warn_of_odd_alpha()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.dataset.height, self.dataset.width

    def upright(self, array: np.ndarray) -> np.ndarray:
        """North up and east to the right; called again, as the raster has it.

        Sentences speak of the map, whatever the order of a file's rows.

        Args:
            array: (height, width, ...) of any window of the scene.
        """
        if self.placement.is_upside_down:
            array = array[::-1]
        if self.placement.is_mirrored:
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    def warn_of_odd_alpha(self) -> None:
        """Files of red, green, blue and near infrared often call the fourth band alpha."""
        if self.alpha is None:
            return
        values = self.read_values(self.alpha, Window(0, 0, *self.size), self.overview_shape)
        between = np.mean((values != values.min()) & (values != values.max()))
        if between > LARGEST_SHARE_BETWEEN:
            logger.warning(
                "%s: band %d is called alpha and serves as transparency, but looks like a picture; "
                "where it is 0 nothing will be found. If it is no transparency, name the bands to "
                "be seen (--bands), this one among them, or clear its colour interpretation",
                self.path,
                self.alpha,
            )

    @property
    def overview_shape(self) -> tuple[int, int]:
        """(height, width) of a reduced picture of the whole scene."""
        shrink = max(1.0, max(self.size) / OVERVIEW_SIDE)
        return max(1, int(self.size[0] / shrink)), max(1, int(self.size[1] / shrink))

    def stretch_limits(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Values (3, 2) of the bands that become black and white, from a reduced picture."""
        whole = Window(0, 0, *self.size)
        shape = self.overview_shape
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
        if not self.averages_itself:
            return self.read_values(self.bands, window, shape, Resampling.bilinear)
        height, width = (
            min(length, max(wanted, LARGEST_READ))
            for length, wanted in zip((window.height, window.width), shape, strict=True)
        )
        values = self.read_values(self.bands, window, (height, width))
        if self.palette is not None:
            values = self.palette[:3, values[0]]
        return averaged(values, shape)

    def read_values(
        self,
        bands: int | tuple[int, ...],
        window: Window,
        shape: tuple[int, int],
        resampling: Resampling = Resampling.nearest,
    ) -> np.ndarray:
        """(height, width) of a band, or (bands, height, width) of several."""
        with reported_damage(self.path, window):
            return self.dataset.read(
                bands,
                window=raster_window(window),
                out_shape=shape if isinstance(bands, int) else (len(bands), *shape),
                resampling=resampling,
            )

    def has_data(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) bool: neither nodata nor transparent."""
        if self.gdal_masks_by_a_colour:
            return np.ones(shape, bool)
        with reported_damage(self.path, window):
            mask = self.dataset.dataset_mask(window=raster_window(window), out_shape=shape)
        has_data = mask > 0
        if self.alpha is not None:  # of which GDAL makes a mask only among 2 or 4 bands
            has_data &= self.read_values(self.alpha, window, shape) > 0
        if self.palette is not None and not self.palette[3].all():
            has_data &= self.palette[3, self.read_values(self.bands[0], window, shape)] > 0
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


def averaged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(bands, height, width) float32 of ``shape``, averaged over what a new pixel covers."""
    if values.shape[1:] == shape:
        return values
    pixels = torch.from_numpy(values.astype(np.float32))[None]
    return F.interpolate(pixels, size=shape, mode="bilinear", antialias=True)[0].numpy()


@contextmanager
def reported_damage(path: Path, window: Window) -> Iterator[None]:
    """Turn a read that fails into an OSError that says where."""
    try:
        yield
    except rasterio.errors.RasterioError as error:
        reason = error.__cause__ or error
        raise OSError(f"{path} is damaged: {window} cannot be read ({reason})") from error


def raster_window(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


def limited_cache() -> rasterio.Env:
    """A context in which GDAL's memory does not depend on the machine's, and in which no file makes
    GDAL ask the network; to be entered before rasterio is used, as drivers are loaded once.
    """
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES, **NO_NETWORK)
