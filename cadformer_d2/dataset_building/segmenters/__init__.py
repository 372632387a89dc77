"""Segmenters that make masks from boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..triplets import Box


@dataclass(frozen=True)
class BoxMask:
    """A segmenter's answer to one box."""

    mask: np.ndarray  # (H, W) bool
    predicted_iou: float | None  # in [0, 1]; None if the segmenter predicts none
    stability: float  # in [0, 1]: IoU of the mask under a stricter and a laxer threshold


class Segmenter(Protocol):
    """Makes one mask per box. The same image and boxes give the same masks."""

    @property
    def version(self) -> Mapping[str, str]:
        """Name and versions of everything that decides the masks; masks of different versions are
        not mixed."""
        ...

    def segment(self, image: np.ndarray, boxes: Sequence[Box]) -> list[BoxMask]:
        """
        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: at least one.
        """
        ...
