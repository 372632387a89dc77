"""Rasters read by windows as 8-bit RGB. Needs the extra ``geo``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..resampling import resize_values
from .bands import alpha_bands, choose_colour_bands, few_bit_limits, read_palette
from .named_url import NamedUrl
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

BLOCK_SIDE = 1024  # side in pixels of the blocks that are read or assembled
LARGEST_READ = 2048  # side in pixels of a read that is averaged here and not by GDAL
OVERVIEW_SIDE = 1024  # side in pixels of the reduced image from which the stretch is computed
DEFAULT_PERCENTILES = (2.0, 98.0)
# GDAL's block cache. Its default, a share of the machine's memory, would let memory grow with the
# scene.
CACHE_MEGABYTES = 64
# Share of pixels that are neither clear nor opaque, above which an alpha band is doubtful.
LARGEST_SHARE_BETWEEN = 0.05


class Scene:
    """A raster, maybe georeferenced, whose pixels are read as 8-bit RGB."""

    def __init__(
        self,
        path: Path | NamedUrl,
        *,
        bands: tuple[int, ...] | None = None,
        percentiles: tuple[float, float] | None = None,
    ):
        """
        Args:
            path: anything GDAL reads on this machine, or a GeoTIFF on the network, which is read
                within ``limited_cache`` and ``path.allowed()``.
            bands: numbers, from 1, of the bands for red, green and blue; None: those that the file
                calls so, else 1, 2, 3, else the first for all three, in its colours if it has a
                palette. A band given here does not serve as transparency.
            percentiles: of each band, stretched to black and white; None: 8-bit values stay as they
                are, other types are stretched from the 2nd to the 98th.

        Raises:
            ValueError: not a raster; missing bands, or bands that are not colours; an unusable
                georeference; disordered percentiles; or no valid pixel to stretch.
        """
        if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles are {percentiles}; expected 0 <= low < high <= 100")
        self.source = RasterSource(path)  # keeps a temporary copy alive, if there is one
        self.dataset = self.source.dataset
        self.path = path
        self.bands = choose_colour_bands(path, self.dataset, bands)
        types = {self.dataset.dtypes[band - 1] for band in self.bands}
        # The transparency band, unless it serves as a colour.
        alphas = alpha_bands(self.dataset)
        self.alpha = min(alphas - set(self.bands), default=None)
        self.gdal_masks_by_a_colour = not alphas.isdisjoint(self.bands) and any(
            MaskFlags.alpha in flags for flags in self.dataset.mask_flag_enums
        )
        self.placement = Placement.from_dataset(self.dataset)
        self.palette = None if bands else read_palette(self.dataset)
        self.has_floats = any(np.dtype(name).kind == "f" for name in types)
        few_bits = few_bit_limits(self.dataset, self.bands) if self.palette is None else None
        # GDAL would average palette indices, round values of few bits, and weight colours by an
        # alpha band that is one of them.
        self.averages_itself = (
            self.palette is not None or few_bits is not None or self.gdal_masks_by_a_colour
        )
        if percentiles is None and types != {"uint8"} and self.palette is None:
            percentiles = DEFAULT_PERCENTILES
        self.limits = few_bits if percentiles is None else self._stretch_limits(percentiles)
        self._warn_of_odd_alpha()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.dataset.height, self.dataset.width

    def turn_upright(self, array: np.ndarray) -> np.ndarray:
        """Turn north up and east to the right, or, called again, back to the raster's order.

        Expressions refer to the map, whatever the order of a file's rows.

        Args:
            array: (height, width, ...) of any window of the scene.
        """
        if self.placement.is_upside_down:
            array = array[::-1]
        if self.placement.is_mirrored:
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    def _warn_of_odd_alpha(self) -> None:
        """Warn of near infrared as fourth band, which many files call alpha."""
        if self.alpha is None:
            return
        values = self._read_values(self.alpha, Window(0, 0, *self.size), self._overview_shape)
        between = np.mean((values != values.min()) & (values != values.max()))
        if between > LARGEST_SHARE_BETWEEN:
            logger.warning(
                "%s: band %d is called alpha and used as transparency, but looks like an image; "
                "nothing will be found where it is 0. If it is not transparency, choose the bands "
                "(--bands) with this one among them, or clear its colour interpretation",
                self.path,
                self.alpha,
            )

    @property
    def _overview_shape(self) -> tuple[int, int]:
        """(height, width) of a reduced image of the whole scene."""
        shrink = max(1.0, max(self.size) / OVERVIEW_SIDE)
        return max(1, int(self.size[0] / shrink)), max(1, int(self.size[1] / shrink))

    def _stretch_limits(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Compute the values (3, 2) for black and white of each band from a reduced image."""
        whole = Window(0, 0, *self.size)
        shape = self._overview_shape
        values = self._read_bands(whole, shape)
        is_valid = self._has_data(whole, shape) & np.isfinite(values).all(axis=0)
        if not is_valid.any():
            raise ValueError(f"{self.path} has no valid pixel")
        return np.percentile(values[:, is_valid], percentiles, axis=1).T

    def _read_bands(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """Read values (3, height, width) of the chosen bands, resampled to ``shape``.

        Raises:
            OSError: the file is damaged there.
        """
        if not self.averages_itself:
            return self._read_values(self.bands, window, shape, Resampling.bilinear)
        height, width = (
            min(length, max(wanted, LARGEST_READ))
            for length, wanted in zip((window.height, window.width), shape, strict=True)
        )
        values = self._read_values(self.bands, window, (height, width))
        if self.palette is not None:
            values = self.palette[:3, values[0]]
        return _average(values, shape)

    def _read_values(
        self,
        bands: int | tuple[int, ...],
        window: Window,
        shape: tuple[int, int],
        resampling: Resampling = Resampling.nearest,
    ) -> np.ndarray:
        """Read (height, width) of one band, or (bands, height, width) of several."""
        with _report_damage(self.path, window):
            return self.dataset.read(
                bands,
                window=raster_window(window),
                out_shape=shape if isinstance(bands, int) else (len(bands), *shape),
                resampling=resampling,
            )

    def _has_data(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) bool: neither nodata nor transparent."""
        if self.gdal_masks_by_a_colour:
            return np.ones(shape, bool)
        with _report_damage(self.path, window):
            mask = self.dataset.dataset_mask(window=raster_window(window), out_shape=shape)
        has_data = mask > 0
        if self.alpha is not None:  # GDAL uses it as a mask only among 2 or 4 bands
            has_data &= self._read_values(self.alpha, window, shape) > 0
        if self.palette is not None and not self.palette[3].all():
            has_data &= self.palette[3, self._read_values(self.bands[0], window, shape)] > 0
        return has_data

    def is_valid(self, window: Window) -> np.ndarray:
        """(window.height, window.width) bool: has data, and all values are finite."""
        shape = (window.height, window.width)
        is_valid = self._has_data(window, shape)
        if self.has_floats:
            is_valid &= np.isfinite(self._read_bands(window, shape)).all(axis=0)
        return is_valid

    def read(self, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """
        Args:
            window: in pixels of the scene.
            shape: (height, width) after resampling.

        Returns:
            RGB (height, width, 3) uint8, black where invalid, and validity (height, width) bool.
        """
        values = self._read_bands(window, shape).astype(np.float32)
        if self.limits is not None:
            low, high = self.limits[:, :1, None], self.limits[:, 1:, None]
            values = (values - low) / np.maximum(high - low, 1e-12) * 255
        is_valid = self._has_data(window, shape) & np.isfinite(values).all(axis=0)
        values = np.where(is_valid, values, 0)
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)), is_valid


def _average(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample to (bands, *shape) float32, averaging over the area of each new pixel."""
    if values.shape[1:] == shape:
        return values
    return resize_values(values, shape)


@contextmanager
def _report_damage(path: Path | NamedUrl, window: Window) -> Iterator[None]:
    """Turn a failed read into an OSError that names the window."""
    try:
        yield
    except rasterio.errors.RasterioError as error:
        reason = error.__cause__ or error
        raise OSError(f"{path} is damaged: {window} cannot be read ({reason})") from error


def raster_window(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


def limited_cache() -> rasterio.Env:
    """Limit GDAL's cache and keep it off the network within a context.

    Enter it before using rasterio, because drivers are loaded once.
    """
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES, **NO_NETWORK)
