"""Scenes read by windows as 8-bit RGB. Needs the extra ``geo``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .placement import Placement
from .raster_source import RasterSource
from .tiling import Window

try:
    import rasterio
    from rasterio.enums import ColorInterp, MaskFlags, Resampling
    from rasterio.windows import Window as RasterWindow
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

logger = logging.getLogger(__name__)

BLOCK_SIDE = 1024  # pixels of a raster that are put together, or read, at once
OVERVIEW_SIDE = 1024  # pixels of the reduced picture that the stretch is computed from
DEFAULT_PERCENTILES = (2.0, 98.0)
# Of the blocks that GDAL keeps in memory. Its own default, a share of the machine's memory, would
# let memory grow with the scene.
CACHE_MEGABYTES = 64
# Of the pixels of an alpha band that are neither clear nor opaque; beyond, it is hardly one.
LARGEST_SHARE_BETWEEN = 0.05
UNNAMED = ColorInterp.undefined
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


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
        self.bands = bands or colour_bands(self.dataset)
        if len(self.bands) != 3 or not all(1 <= b <= self.dataset.count for b in self.bands):
            raise ValueError(
                f"bands are {self.bands}; three numbers from 1 to {self.dataset.count} are needed"
            )
        types = {self.dataset.dtypes[band - 1] for band in self.bands}
        refuse_complex_values(path, types)
        self.placement = Placement.of(self.dataset)
        self.palette = None if bands else palette_of(self.dataset)
        self.has_floats = any(np.dtype(name).kind == "f" for name in types)
        if percentiles is None and types != {"uint8"} and self.palette is None:
            percentiles = DEFAULT_PERCENTILES
        if percentiles is not None:
            self.limits = self.stretch_limits(percentiles)
        else:
            self.limits = few_bit_limits(self.dataset, self.bands)
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

    @property
    def alpha(self) -> int | None:
        """Number of the band that says where the scene is transparent, from 1; None: none does."""
        kinds = self.dataset.colorinterp
        found = [band for band, kind in enumerate(kinds, 1) if kind == ColorInterp.alpha]
        return found[0] if found and found[0] not in self.bands else None

    def warn_of_odd_alpha(self) -> None:
        """Files of red, green, blue and near infrared often call the fourth band alpha."""
        if self.alpha is None:
            return
        with reported_damage(self.path, Window(0, 0, *self.size)):
            values = self.dataset.read(self.alpha, out_shape=self.overview_shape)
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
        # Between two entries of a palette is no colour between theirs.
        has_palette = self.palette is not None
        with reported_damage(self.path, window):
            values = self.dataset.read(
                self.bands,
                window=raster_window(window),
                out_shape=(3, *shape),
                resampling=Resampling.nearest if has_palette else Resampling.bilinear,
            )
        return self.palette[:, values[0]] if has_palette else values

    def has_data(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) bool: neither nodata nor transparent."""
        options = {"window": raster_window(window), "out_shape": shape}
        with reported_damage(self.path, window):
            if self.alpha is not None or not self.has_alpha_elsewhere:
                return self.dataset.dataset_mask(**options) > 0
            if self.dataset.nodata is None:
                return np.ones(shape, bool)
            values = self.dataset.read(self.bands, **options)
        return (values != self.dataset.nodata).any(axis=0)

    @property
    def has_alpha_elsewhere(self) -> bool:
        """Whether GDAL takes a band for transparency that is one of the colours."""
        flags = self.dataset.mask_flag_enums
        return any(MaskFlags.alpha in of_band for of_band in flags)

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


def colour_bands(dataset: rasterio.DatasetReader) -> tuple[int, int, int]:
    """Numbers of the bands that are red, green and blue."""
    kinds = list(dataset.colorinterp)
    if all(colour in kinds for colour in COLOURS):
        red, green, blue = (kinds.index(colour) + 1 for colour in COLOURS)
        return red, green, blue
    return (1, 2, 3) if dataset.count >= 3 else (1, 1, 1)


def refuse_complex_values(path: Path, types: set[str]) -> None:
    """Raise ValueError for the numbers of radar images, which have no colour."""
    odd = sorted(name for name in types if "complex" in name)
    if odd:
        raise ValueError(
            f"{path} holds complex values ({odd[0]}); take the amplitude first, for example with "
            "gdal_calc.py --calc 'abs(A)'"
        )


def few_bit_limits(dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> np.ndarray | None:
    """Values (3, 2) that are black and white where bytes hold fewer than 8 bits; else None."""
    bits = [int(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8)) for band in bands]
    if min(bits) == 8:
        return None
    return np.array([(0, 2**number - 1) for number in bits], float)


def palette_of(dataset: rasterio.DatasetReader) -> np.ndarray | None:
    """Colours (3, number of values) uint8 of a raster whose first band counts them; else None.

    Raises:
        ValueError: the band counts colours, and the file says none or has too many values.
    """
    first, *others = dataset.colorinterp
    # One band more is transparency, whether or not the file calls it so.
    if first != ColorInterp.palette or others not in ([], [ColorInterp.alpha], [UNNAMED]):
        return None
    if dataset.dtypes[0] not in ("uint8", "uint16"):
        raise ValueError(
            f"{dataset.name} has a palette for values of type {dataset.dtypes[0]}; 8 or 16 bits "
            "are needed. Write its colours out, for example with gdal_translate -expand rgb"
        )
    try:
        table = dataset.colormap(1)
    except ValueError as error:
        raise ValueError(
            f"{dataset.name} says that its values count colours and names none; give it a colour "
            "table, or call the band gray (gdal_edit.py -colorinterp_1 gray)"
        ) from error
    palette = np.zeros((3, np.iinfo(dataset.dtypes[0]).max + 1), np.uint8)
    for value, colour in table.items():
        palette[:, value] = colour[:3]
    return palette


@contextmanager
def reported_damage(path: Path, window: Window) -> Iterator[None]:
    """Turn a read that fails into an OSError that says where."""
    try:
        yield
    except rasterio.errors.RasterioError as error:
        raise OSError(f"{path} is damaged: {window} cannot be read ({error})") from error


def raster_window(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


def limited_cache() -> rasterio.Env:
    """A context in which GDAL's memory does not depend on the machine's; to be entered first."""
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES)
