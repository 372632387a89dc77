"""The arithmetic of overlapping tiles and of blending their probabilities."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Window:
    """A rectangle of a raster, in pixels."""

    row: int
    column: int
    height: int
    width: int

    def overlap(self, other: Window) -> Window | None:
        """The common part of two windows; None if there is none."""
        row, column = max(self.row, other.row), max(self.column, other.column)
        height = min(self.row + self.height, other.row + other.height) - row
        width = min(self.column + self.width, other.column + other.width) - column
        return Window(row, column, height, width) if height > 0 and width > 0 else None

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices of this window in an array of ``outer``."""
        row, column = self.row - outer.row, self.column - outer.column
        return slice(row, row + self.height), slice(column, column + self.width)


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """First pixel of each window along one axis; the last window ends exactly at ``length``.

    The last window is moved back rather than padded: a padded border is black, and no aerial
    image a model was trained on ends in black.

    Args:
        length: of the axis, pixels.
        window: length of a window; if it is at least ``length``, there is one window.
        overlap: minimum overlap of neighbours; less than ``window``.

    Raises:
        ValueError: the overlap leaves no step, or the axis is empty.
    """
    if length < 1 or window < 1:
        raise ValueError(f"window {window} and axis length {length} must be at least 1 pixel")
    if not 0 <= overlap < window:
        raise ValueError(f"overlap {overlap} must be at least 0 and less than the window, {window}")
    if window >= length:
        return [0]
    starts = list(range(0, length - window, window - overlap))
    return [*starts, length - window]


@dataclass(frozen=True)
class TileGrid:
    """Overlapping tiles of one size that cover a raster, numbered row by row."""

    rows: tuple[int, ...]  # first pixel row of each row of tiles, ascending
    columns: tuple[int, ...]  # first pixel column of each column of tiles
    tile: tuple[int, int]  # (height, width) in pixels of the raster

    @classmethod
    def covering(
        cls, size: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int]
    ) -> TileGrid:
        """
        Args:
            size: (height, width) of the raster.
            tile: (height, width) of a tile; limited to the size of the raster.
            overlap: minimum overlap of neighbours along the two axes.
        """
        rows, columns = map(window_starts, size, tile, overlap)
        return cls(tuple(rows), tuple(columns), (min(tile[0], size[0]), min(tile[1], size[1])))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __getitem__(self, index: int) -> Window:
        row, column = divmod(range(len(self))[index], len(self.columns))
        return Window(self.rows[row], self.columns[column], *self.tile)

    def touching(self, block: Window) -> Iterator[int]:
        """Numbers of the tiles that overlap a block."""
        rows = _starts_between(self.rows, block.row - self.tile[0], block.row + block.height)
        columns = _starts_between(
            self.columns, block.column - self.tile[1], block.column + block.width
        )
        for row in rows:
            yield from (row * len(self.columns) + column for column in columns)


def _starts_between(starts: tuple[int, ...], above: int, below: int) -> range:
    """Positions of the ascending ``starts`` strictly between two numbers."""
    return range(bisect_right(starts, above), bisect_left(starts, below))


def block_windows(size: tuple[int, int], side: int) -> Iterator[Window]:
    """Blocks of at most ``side`` x ``side`` that cover a raster without overlap, row by row."""
    for row in range(0, size[0], side):
        for column in range(0, size[1], side):
            yield Window(row, column, min(side, size[0] - row), min(side, size[1] - column))


def blending_weight(window: Window, part: Window) -> np.ndarray:
    """Blending weight of a tile at the pixels of a part of it, decreasing towards its border.

    Returns:
        (part.height, part.width) float32 in (0, 1], a pyramid over the tile, because the network
        sees least context at the border.
    """
    ramps = []
    for length, inside in zip((window.height, window.width), part.within(window), strict=True):
        position = np.arange(inside.start, inside.stop)
        distance = np.minimum(position, length - 1 - position) + 1
        ramps.append((distance / ((length + 1) // 2)).astype(np.float32))
    return np.minimum.outer(ramps[0], ramps[1])


def blend(block: Window, tiles: Iterable[tuple[Window, np.ndarray]]) -> np.ndarray:
    """Blend the probabilities of all tiles that overlap a block, by a weighted mean.

    Up to rounding, the result does not depend on the order of the tiles.

    Args:
        tiles: windows and their probabilities in [0, 1], at any resolution.

    Returns:
        (height, width) float32; 0 where there is no tile.
    """
    total = np.zeros((block.height, block.width), np.float32)
    weight = np.zeros_like(total)
    for window, probability in tiles:
        common = window.overlap(block)
        if common is None:
            continue
        tile_weight = blending_weight(window, common)
        total[common.within(block)] += tile_weight * resample_part(probability, window, common)
        weight[common.within(block)] += tile_weight
    return np.divide(total, weight, out=total, where=weight > 0)


def resample_part(probability: np.ndarray, window: Window, part: Window) -> np.ndarray:
    """Resample a part of a tile to the raster's resolution, bilinearly.

    Args:
        probability: (h, w) of the whole tile, at the network's resolution.
        window: of the tile.
        part: a window inside it.

    Returns:
        (part.height, part.width) float32.
    """
    probability = probability.astype(np.float32)
    if probability.shape == (window.height, window.width):
        return probability[part.within(window)]
    rows, columns = (
        (start - first + np.arange(length) + 0.5) * cells / pixels - 0.5
        for start, first, length, cells, pixels in (
            (part.row, window.row, part.height, probability.shape[0], window.height),
            (part.column, window.column, part.width, probability.shape[1], window.width),
        )
    )
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return cv2.remap(probability, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
