"""Augmentations that change pixel values and move nothing."""

from __future__ import annotations

import cv2
import numpy as np
from detectron2.data import transforms as T

from .build import AUGMENTATION_REGISTRY


class BoxesTransform(T.NoOpTransform):
    """Black squares on the image; the mask does not change."""

    def __init__(self, corners: list[tuple[int, int]], *, side: int):
        """
        Args:
            corners: (top, left) of each square, pixels.
            side: pixels.
        """
        super().__init__()
        self.corners = corners
        self.side = side

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        covered = img.copy()
        for top, left in self.corners:
            covered[top : top + self.side, left : left + self.side] = 0
        return covered

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


@AUGMENTATION_REGISTRY.register()
class RandomCutout(T.Augmentation):
    """Black squares at uniform positions (arXiv 1708.04552); they may cover the target."""

    def __init__(self, fewest: int, most: int, side: float):
        """
        Args:
            fewest, most: number of squares, both ends included.
            side: of a square, as a share of the image's shorter side.
        """
        super().__init__()
        if not 0 <= fewest <= most or not 0 < side <= 1:
            raise ValueError(
                f"got {fewest} to {most} squares of side {side}; expected a range of counts and a "
                "side in (0, 1]"
            )
        self.fewest = fewest
        self.most = most
        self.side = side

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        side = max(1, round(self.side * min(height, width)))
        number = np.random.randint(self.fewest, self.most + 1)
        tops = np.random.randint(height - side + 1, size=number)
        lefts = np.random.randint(width - side + 1, size=number)
        return BoxesTransform(list(zip(tops.tolist(), lefts.tolist(), strict=True)), side=side)


@AUGMENTATION_REGISTRY.register()
class RandomBlur(T.Augmentation):
    """A Gaussian blur."""

    def __init__(self, sigma_min: float, sigma_max: float):
        """
        Args:
            sigma_min, sigma_max: range of the standard deviation, pixels of the image file.
        """
        super().__init__()
        _refuse_descending(sigma_min, sigma_max)
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def get_transform(self, image: np.ndarray) -> T.Transform:
        sigma = float(self._rand_range(self.sigma_min, self.sigma_max))
        if sigma == 0:
            return T.NoOpTransform()
        return T.ColorTransform(lambda img: cv2.GaussianBlur(img, (0, 0), sigma))


@AUGMENTATION_REGISTRY.register()
class RandomNoise(T.Augmentation):
    """Gaussian noise, independent for each pixel and channel."""

    def __init__(self, std_min: float, std_max: float):
        """
        Args:
            std_min, std_max: range of the standard deviation, grey levels of 255.
        """
        super().__init__()
        _refuse_descending(std_min, std_max)
        self.std_min = std_min
        self.std_max = std_max

    def get_transform(self, image: np.ndarray) -> T.Transform:
        noise = np.random.normal(0, self._rand_range(self.std_min, self.std_max), image.shape)
        return T.ColorTransform(lambda img: np.rint(img + noise).clip(0, 255).astype(np.uint8))


def _refuse_descending(low: float, high: float) -> None:
    if not 0 <= low <= high:
        raise ValueError(f"got {low} to {high}; expected a range of numbers from 0")
