"""Arithmetic of boxes x1, y1, x2, y2 in image pixels."""

from __future__ import annotations

import numpy as np

from .triplets import Box

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)


def box_area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union, in [0, 1]; 0 if both have no area."""
    common = box_area(
        (
            max(first[0], second[0]),
            max(first[1], second[1]),
            min(first[2], second[2]),
            min(first[3], second[3]),
        )
    )
    union = box_area(first) + box_area(second) - common
    return common / union if union else 0.0


def enclosing_box(mask: np.ndarray) -> Box:
    """The box of a mask (H, W) bool along pixel edges; ``NOWHERE`` for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return NOWHERE
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def grow_box(box: Box, share: float) -> Box:
    """Move every side of a box outward by a share of its size, but not below 0."""
    x, y = share * (box[2] - box[0]), share * (box[3] - box[1])
    return max(0.0, box[0] - x), max(0.0, box[1] - y), box[2] + x, box[3] + y


def box_window(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels a box touches, at least one of each, inside the image."""
    left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
    right, bottom = int(np.ceil(box[2])), int(np.ceil(box[3]))
    return slice(top, max(top + 1, min(bottom, height))), slice(
        left, max(left + 1, min(right, width))
    )
