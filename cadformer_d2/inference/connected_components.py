"""Connected components of a mask, found block by block, so that it may be larger than memory.

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
    from rasterio.features import rasterize, shapes
    from rasterio.transform import Affine
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; polygons need the extra geo: "
        "pip install 'cadformer_d2[geo]'"
    ) from error


@dataclass(frozen=True)
class ConnectedComponent:
    """A connected component of a mask; pixels that touch only at a corner are not connected."""

    polygon: Any  # shapely Polygon along pixel edges, x right and y down, pixels of the raster
    num_pixels: int
    probability_sum: float


def trace_polygons(mask: np.ndarray) -> list[dict[str, Any]]:
    """Trace a mask's connected components along pixel edges, as GeoJSON polygons in pixels.

    Args:
        mask: (height, width) bool.
    """
    return [shape for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]


def find_components(
    block: Window, mask: np.ndarray, probability: np.ndarray
) -> list[ConnectedComponent]:
    """Find the connected components of one block of a raster.

    Args:
        mask, probability: (block.height, block.width).
    """
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    counts = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=probability.ravel())
    place = Affine.translation(block.column, block.row)
    return [
        ConnectedComponent(
            shapely.geometry.shape(outline), int(counts[int(label)]), float(sums[int(label)])
        )
        for outline, label in shapes(labels, mask=mask, connectivity=4, transform=place)
    ]


def paint_component(component: ConnectedComponent, block: Window) -> np.ndarray:
    """The pixels (block.height, block.width) bool of a component in a block."""
    left, top, right, bottom = (round(side) for side in component.polygon.bounds)
    if Window(top, left, bottom - top, right - left).overlap(block) is None:
        return np.zeros((block.height, block.width), bool)
    painted = rasterize(
        [component.polygon],
        out_shape=(block.height, block.width),
        transform=Affine.translation(block.column, block.row),
        dtype=np.uint8,
    )
    return painted.astype(bool)


def merge_components(
    blocks: Iterable[tuple[Window, list[ConnectedComponent]]],
) -> Iterator[ConnectedComponent]:
    """Merge the components of blocks; yields each component as soon as it is complete.

    Args:
        blocks: of the raster, row by row, with their components.
    """
    waiting: list[ConnectedComponent] = []  # may continue in the next row of blocks
    for row, strip in groupby(blocks, key=lambda entry: entry[0].row):
        cut, bottom = waiting, row
        for block, components in strip:
            bottom = block.row + block.height
            for component in components:
                if _reaches_border(component, block):
                    cut.append(component)
                else:
                    yield component
        waiting = []
        for component in _join_components(cut):
            if component.polygon.bounds[3] == bottom:
                waiting.append(component)
            else:
                yield component
    yield from waiting


def _reaches_border(component: ConnectedComponent, block: Window) -> bool:
    left, top, right, bottom = component.polygon.bounds
    return (
        left == block.column
        or top == block.row
        or right == block.column + block.width
        or bottom == block.row + block.height
    )


def _join_components(components: Sequence[ConnectedComponent]) -> list[ConnectedComponent]:
    """Join components that share an edge."""
    if not components:
        return []
    whole = shapely.union_all([component.polygon for component in components])
    # A tolerance of 0 removes only corners on straight lines, which the block borders left.
    polygons = shapely.simplify(shapely.get_parts(whole), 0)
    tree = shapely.STRtree(polygons)
    totals = np.zeros((len(polygons), 2))
    for component in components:
        (index, *_) = tree.query(component.polygon.representative_point(), predicate="within")
        totals[index] += component.num_pixels, component.probability_sum
    return [
        ConnectedComponent(polygon, int(count), float(total))
        for polygon, (count, total) in zip(polygons, totals, strict=True)
    ]
