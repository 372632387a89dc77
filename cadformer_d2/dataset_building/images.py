"""Images and masks as arrays.

All sizes, boxes and masks are in pixels of the image after turning it as its EXIF data say. A copy
of an image file keeps its EXIF data and is turned again when opened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..data.image_file import read_image
from ..structures import RunLengthMask


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises:
        FileNotFoundError, ValueError: it is missing or unusable; the message names it.
    """
    return read_image(path, "RGB").copy()  # Pillow returns read-only pixels


def encode_mask(mask: np.ndarray) -> RunLengthMask:
    """Encode a mask (H, W) bool as run lengths."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def decode_mask(mask: RunLengthMask) -> np.ndarray:
    """Decode a run-length mask to (H, W) bool."""
    return coco_mask.decode(mask).astype(bool)


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """IoU of two masks (H, W) bool; 1 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
