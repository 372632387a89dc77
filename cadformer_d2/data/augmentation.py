"""The black boxes of the released training code (RMSIN, FIANet, CADFormer)."""

from __future__ import annotations

import zlib

import numpy as np

BOX_SIDE = 32  # pixels of the image file
ERASED_SHARE = 5  # one training ref in so many


def is_erased(ref_id: int) -> bool:
    """Whether a ref belongs to the fixed fifth of the training set that gets black boxes."""
    return zlib.crc32(str(ref_id).encode()) % ERASED_SHARE == 0


def erase_boxes(
    image: np.ndarray, *, num_boxes: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A copy of the image with black squares at uniform positions; the mask is left alone.

    Args:
        image: (H, W, 3) uint8.
        num_boxes: (fewest, most), both possible.
    """
    erased = image.copy()
    height, width = image.shape[:2]
    for _ in range(rng.integers(num_boxes[0], num_boxes[1], endpoint=True)):
        top = rng.integers(max(height - BOX_SIDE, 0), endpoint=True)
        left = rng.integers(max(width - BOX_SIDE, 0), endpoint=True)
        erased[top : top + BOX_SIDE, left : left + BOX_SIDE] = 0
    return erased
