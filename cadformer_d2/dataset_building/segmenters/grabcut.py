"""Masks from boxes by GrabCut (Rother et al., 2004): needs no weights, for trying the road."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..boxes import box_window, grown_box
from ..triplets import Box
from . import BoxMask

ITERATIONS = 5
# The box is grown by this share of its sides for a second mask; a stable mask does not change.
GROWTH = 0.1
# Colour models need some background: boxes are cut out with a margin of this share of their sides.
MARGIN = 0.5


class GrabCutSegmenter:
    """Separates the colours inside a box from those around it.

    Far from SAM on real images, but it runs anywhere and shows every step with masks that need a
    review.
    """

    @property
    def version(self) -> Mapping[str, str]:
        return {"name": "grabcut", "opencv": cv2.__version__}

    def segment(self, image: np.ndarray, boxes: Sequence[Box]) -> list[BoxMask]:
        """See ``Segmenter``."""
        answers = []
        for box in boxes:
            mask, grown = grabcut(image, box), grabcut(image, grown_box(box, GROWTH))
            union = int((mask | grown).sum())
            agreement = int((mask & grown).sum()) / union if union else 0.0
            answers.append(BoxMask(mask, None, agreement))
        return answers


def grabcut(image: np.ndarray, box: Box) -> np.ndarray:
    """(H, W) bool of the foreground in a box of an image (H, W, 3) uint8."""
    height, width = image.shape[:2]
    around = box_window(grown_box(box, MARGIN), height, width)
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[box_window(box, height, width)] = cv2.GC_PR_FGD
    crop = np.ascontiguousarray(image[around])
    part = np.ascontiguousarray(labels[around])
    mask = np.zeros((height, width), bool)
    if (part == cv2.GC_BGD).any():  # a box over the whole image leaves no background to learn
        cv2.setRNGSeed(0)  # its colour clusters start at random
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # its colour models
        cv2.grabCut(
            crop, part, (0, 0, 0, 0), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK
        )
    mask[around] = (part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)
    return mask
