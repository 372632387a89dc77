"""The connected parts of a mask, also of one too large for memory: found block by block and joined.

Needs the extra ``geo``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import cv2
import numpy as np

from .tiling import Window

try:
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; polygons need the extra geo: "
        "pip install 'cadformer_d2[geo]'"
    ) from error


@dataclass(frozen=True)
class Piece:
    """A connected part of a mask; pixels that touch at a corner only are not connected."""

    polygon: Any  # shapely Polygon along pixel edges, x right and y down, pixels of the raster
    num_pixels: int
    probability_sum: float


def mask_polygons(mask: np.ndarray) -> list[dict[str, Any]]:
    """Outlines of a mask's connected parts along pixel edges, as GeoJSON polygons in pixels.

    Args:
        mask: (height, width) bool.
    """
    return [shape for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]


def block_pieces(block: Window, mask: np.ndarray, probability: np.ndarray) -> list[Piece]:
    """The pieces of one block of a raster.

    Args:
        mask, probability: (block.height, block.width).
    """
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    counts = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=probability.ravel())
    place = Affine.translation(block.column, block.row)
    return [
        Piece(shapely.geometry.shape(outline), int(counts[int(label)]), float(sums[int(label)]))
        for outline, label in shapes(labels, mask=mask, connectivity=4, transform=place)
    ]


def whole_pieces(blocks: Iterable[tuple[Window, list[Piece]]]) -> Iterator[Piece]:
    """The pieces of a raster from those of its blocks, as soon as each is complete.

    Args:
        blocks: of the raster, row by row, with their pieces.
    """
    waiting: list[Piece] = []  # they reach the last row of blocks, and may go on in the next
    for row, strip in groupby(blocks, key=lambda entry: entry[0].row):
        cut, bottom = waiting, row
        for block, pieces in strip:
            bottom = block.row + block.height
            for piece in pieces:
                if reaches_border(piece, block):
                    cut.append(piece)
                else:
                    yield piece
        waiting = []
        for piece in joined_pieces(cut):
            if piece.polygon.bounds[3] == bottom:
                waiting.append(piece)
            else:
                yield piece
    yield from waiting


def reaches_border(piece: Piece, block: Window) -> bool:
    left, top, right, bottom = piece.polygon.bounds
    return (
        left == block.column
        or top == block.row
        or right == block.column + block.width
        or bottom == block.row + block.height
    )


def joined_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces that share an edge, put together."""
    if not pieces:
        return []
    whole = shapely.union_all([piece.polygon for piece in pieces])
    # Simplified by nothing: without the corners that were the blocks' only.
    polygons = shapely.simplify(shapely.get_parts(whole), 0)
    tree = shapely.STRtree(polygons)
    totals = np.zeros((len(polygons), 2))
    for piece in pieces:
        (index, *_) = tree.query(piece.polygon.representative_point(), predicate="within")
        totals[index] += piece.num_pixels, piece.probability_sum
    return [
        Piece(polygon, int(count), float(total))
        for polygon, (count, total) in zip(polygons, totals, strict=True)
    ]
