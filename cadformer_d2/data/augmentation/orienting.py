"""Flips and quarter turns, each orientation as often as any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T

from ..orientation import Orientation, list_orientations
from .build import AUGMENTATION_REGISTRY


class OrientationTransform(T.Transform):
    """A flip, then quarter turns counter-clockwise."""

    def __init__(self, orientation: Orientation, *, height: int, width: int):
        """
        Args:
            height, width: of the original image, pixels.
        """
        super().__init__()
        self.orientation = orientation
        self.height = height
        self.width = width

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self.orientation.turn(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        x, y = coords.T
        height, width = self.height, self.width
        if self.orientation.mirrored:
            x = width - x
        for _ in range(self.orientation.quarter_turns):
            x, y = y, width - x
            height, width = width, height
        return np.stack([x, y], axis=1)


@AUGMENTATION_REGISTRY.register()
class RandomOrientation(T.Augmentation):
    """One of the orientations that the named changes lead to, including the unchanged image."""

    def __init__(self, changes: Sequence[str]):
        """
        Args:
            changes: any of "horizontal_flip", "vertical_flip", "quarter_turns".
        """
        super().__init__()
        self.changes = tuple(changes)
        self.orientations = list_orientations(self.changes)

    def get_transform(self, image: np.ndarray, rng: np.random.Generator) -> T.Transform:
        height, width = image.shape[:2]
        orientation = self.orientations[rng.integers(len(self.orientations))]
        return OrientationTransform(orientation, height=height, width=width)
