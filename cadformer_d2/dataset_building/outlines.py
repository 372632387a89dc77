"""Masks <-> rings of points along pixel edges, which annotation tools edit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.masks import LONGEST_OUTLINE
from .images import mask_iou

# Tolerances of simplification in pixels; the first one that keeps the mask is used.
TOLERANCES = (2.0, 1.5, 1.0, 0.75, 0.5)
# IoU of a mask and its simplified outline.
LEAST_IOU = 0.99


@dataclass(frozen=True)
class Ring:
    """A closed line that fills or clears its inside."""

    points: tuple[tuple[float, float], ...]  # x, y in image pixels; pixel 0 lies between 0 and 1
    is_hole: bool
    # Rings are painted from the lowest layer up and by decreasing area within a layer, so that an
    # island in a hole is painted after the hole.
    layer: int = 0

    @property
    def area(self) -> float:
        """Enclosed area in pixels (the shoelace formula)."""
        x, y = np.asarray(self.points, float).T
        return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def trace_rings(mask: np.ndarray) -> list[Ring]:
    """Trace the outlines of a mask (H, W) bool, simplified as far as ``LEAST_IOU`` allows.

    Raises:
        ImportError: the extra ``dataset`` is not installed.
    """
    exact = trace_outline(mask)
    for tolerance in TOLERANCES:
        rings = split_rings(exact.simplify(tolerance))
        if mask_iou(paint_rings(rings, *mask.shape), mask) >= LEAST_IOU:
            return rings
    return split_rings(exact)


def trace_outline(mask: np.ndarray) -> Any:
    """Trace the mask along pixel edges, as a shapely geometry."""
    try:
        import shapely
    except ModuleNotFoundError as error:
        raise ImportError(
            "shapely is not installed; outlines need the extra dataset: "
            "pip install 'cadformer_d2[dataset]'"
        ) from error
    rows = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    changes = np.diff(rows, axis=1)
    tops, lefts = np.nonzero(changes == 1)
    _, rights = np.nonzero(changes == -1)  # the end of the same run: runs do not nest
    return shapely.union_all(shapely.box(lefts, tops, rights, tops + 1))


def split_rings(geometry: Any) -> list[Ring]:
    """Split a shapely polygon or multipolygon into outer rings and holes."""
    polygons = [part for part in getattr(geometry, "geoms", [geometry]) if not part.is_empty]
    rings = []
    for polygon in polygons:
        rings.append(Ring(_ring_points(polygon.exterior), is_hole=False))
        rings += [Ring(_ring_points(hole), is_hole=True) for hole in polygon.interiors]
    return rings


def _ring_points(line: Any) -> tuple[tuple[float, float], ...]:
    """Points of a shapely ring without the last, which repeats the first."""
    return tuple((round(x, 2), round(y, 2)) for x, y in line.coords[:-1])


def paint_rings(rings: Iterable[Ring], height: int, width: int) -> np.ndarray:
    """Paint rings into a mask (H, W) bool, in the order that ``Ring.layer`` describes.

    Raises:
        ValueError: a damaged ring.
    """
    mask = np.zeros((height, width), bool)
    for ring in sorted(rings, key=lambda ring: (ring.layer, -ring.area)):
        rows, inside = _fill(ring.points, height, width)
        mask[rows][inside] = not ring.is_hole
    return mask


def _fill(
    points: Iterable[tuple[float, float]], height: int, width: int
) -> tuple[slice, np.ndarray]:
    """Fill a closed line: the pixels whose centres lie inside by the even-odd rule.

    The middle of each row crosses the line on the way in and on the way out. Rows and crossings are
    clipped to the image; clipping the points instead would bend the edges.

    Args:
        points: x, y in image pixels; the last is joined to the first.

    Returns:
        the rows that the line crosses, and the filled pixels (rows, W) bool of these rows.

    Raises:
        ValueError: more crossings than any annotator's line has.
    """
    x1, y1 = np.asarray(list(points), float).T
    x2, y2 = np.roll(x1, -1), np.roll(y1, -1)
    starts = np.ceil(np.minimum(y1, y2) - 0.5).clip(0, height).astype(int)
    ends = np.ceil(np.maximum(y1, y2) - 0.5).clip(0, height).astype(int)
    num_crossings = ends - starts  # of each edge
    total = int(num_crossings.sum())
    if total > LONGEST_OUTLINE:
        raise ValueError(f"the outline crosses {total} rows of pixels; it is damaged")
    edges = np.repeat(np.arange(len(x1)), num_crossings)
    nth = np.arange(total) - np.repeat(num_crossings.cumsum() - num_crossings, num_crossings)
    rows = starts[edges] + nth
    share = (rows + 0.5 - y1[edges]) / (y2 - y1)[edges]  # of the edge, before the crossing
    x = x1[edges] + share * (x2 - x1)[edges]
    columns = np.ceil(x - 0.5).clip(0, width).astype(int)  # the first pixel after the crossing
    top, bottom = int(starts.min()), int(ends.max())
    is_crossed = np.zeros((bottom - top, width + 1), bool)
    np.logical_xor.at(is_crossed, (rows - top, columns), True)
    return slice(top, bottom), np.logical_xor.accumulate(is_crossed, axis=1)[:, :width]
