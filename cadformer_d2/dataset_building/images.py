"""Images and masks as arrays.

Everything here is in the pixels of an image as its EXIF data turn it: its size, the boxes of a
source, what a segmenter is given, masks, and the sizes that are written. A copy of an image's file
keeps its EXIF data, and whoever opens it turns it again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..data.image_file import read_image
from ..structures import RunLengthMask


def read_rgb(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises:
        FileNotFoundError, ValueError: it is missing or unusable; the message names it.
    """
    return read_image(path, "RGB").copy()  # Pillow hands out read-only pixels


def encoded(mask: np.ndarray) -> RunLengthMask:
    """A run-length mask of (H, W) bool."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def decoded(mask: RunLengthMask) -> np.ndarray:
    """(H, W) bool of a run-length mask."""
    return coco_mask.decode(mask).astype(bool)


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two masks (H, W) bool; 1 where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
