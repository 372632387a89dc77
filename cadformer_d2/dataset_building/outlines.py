"""Masks as rings of points along pixel edges, as annotation tools edit them, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..data.masks import united_mask
from .images import mask_iou

# Distances, in pixels, by which outlines may be simplified: the first that keeps the mask is taken.
TOLERANCES = (2.0, 1.5, 1.0, 0.75, 0.5)
# IoU of a mask and its simplified outline.
LEAST_IOU = 0.99


@dataclass(frozen=True)
class Ring:
    """A closed line that fills its inside, or empties it."""

    points: tuple[tuple[float, float], ...]  # x, y in image pixels; pixel 0 lies between 0 and 1
    is_hole: bool
    # Rings are painted from the lowest layer up, in a layer the largest first: so an island in a
    # hole is painted after the hole.
    layer: int = 0

    @property
    def area(self) -> float:
        """Enclosed area in pixels (the shoelace formula)."""
        x, y = np.asarray(self.points, float).T
        return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def mask_rings(mask: np.ndarray) -> list[Ring]:
    """Outlines of a mask (H, W) bool, simplified as far as ``LEAST_IOU`` allows.

    Raises:
        ImportError: the extra ``dataset`` is not installed.
    """
    exact = outline(mask)
    for tolerance in TOLERANCES:
        rings = rings_of(exact.simplify(tolerance))
        if mask_iou(paint(rings, *mask.shape), mask) >= LEAST_IOU:
            return rings
    return rings_of(exact)


def outline(mask: np.ndarray) -> Any:
    """The mask as a shapely geometry, every edge on an edge of a pixel."""
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


def rings_of(geometry: Any) -> list[Ring]:
    """Rings of a shapely polygon or several, the outer one of each and its holes."""
    polygons = [part for part in getattr(geometry, "geoms", [geometry]) if not part.is_empty]
    rings = []
    for polygon in polygons:
        rings.append(Ring(ring_points(polygon.exterior), is_hole=False))
        rings += [Ring(ring_points(hole), is_hole=True) for hole in polygon.interiors]
    return rings


def ring_points(line: Any) -> tuple[tuple[float, float], ...]:
    """Points of a shapely ring; the last, which repeats the first, is left out."""
    return tuple((round(x, 2), round(y, 2)) for x, y in line.coords[:-1])


def paint(rings: Iterable[Ring], height: int, width: int) -> np.ndarray:
    """(H, W) bool: what the rings fill, painted in the order ``Ring.layer`` describes."""
    mask = np.zeros((height, width), bool)
    for ring in sorted(rings, key=lambda ring: (ring.layer, -ring.area)):
        # What lies outside the image is cut off along the border; moving points there one by one
        # would bend the edges inside.
        corners = [number for point in ring.points for number in point]
        inside = united_mask([corners], height=height, width=width)
        mask[coco_mask.decode(inside).astype(bool)] = not ring.is_hole
    return mask
