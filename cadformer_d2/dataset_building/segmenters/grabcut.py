"""Masks from boxes by GrabCut (Rother et al., 2004), to try the pipeline without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..boxes import box_window, grow_box
from ..triplets import Box
from . import BoxMask

ITERATIONS = 5
# The box is grown by this share of its sides for a second mask; a stable mask stays the same.
GROWTH = 0.1
# Colour models need background: boxes are cropped with a margin of this share of their sides.
MARGIN = 0.5


class GrabCutSegmenter:
    """Separates the colours inside a box from those around it.

    Much worse than SAM on real images, but it runs anywhere and gives every step masks to work
    with.
    """

    @property
    def version(self) -> Mapping[str, str]:
        return {"name": "grabcut", "opencv": cv2.__version__}

    def segment(self, image: np.ndarray, boxes: Sequence[Box]) -> list[BoxMask]:
        """See ``Segmenter``."""
        answers = []
        for box in boxes:
            mask, grown = _run_grabcut(image, box), _run_grabcut(image, grow_box(box, GROWTH))
            union = int((mask | grown).sum())
            agreement = int((mask & grown).sum()) / union if union else 0.0
            answers.append(BoxMask(mask, None, agreement))
        return answers


def _run_grabcut(image: np.ndarray, box: Box) -> np.ndarray:
    """Segment the foreground (H, W) bool in a box of an image (H, W, 3) uint8."""
    height, width = image.shape[:2]
    around = box_window(grow_box(box, MARGIN), height, width)
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[box_window(box, height, width)] = cv2.GC_PR_FGD
    crop = np.ascontiguousarray(image[around])
    part = np.ascontiguousarray(labels[around])
    mask = np.zeros((height, width), bool)
    if (part == cv2.GC_BGD).any():  # a box over the whole image leaves no background to learn
        cv2.setRNGSeed(0)  # the colour clusters are initialised at random
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # colour models
        cv2.grabCut(
            crop, part, (0, 0, 0, 0), background, foreground, ITERATIONS, cv2.GC_INIT_WITH_MASK
        )
    mask[around] = (part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)
    return mask
