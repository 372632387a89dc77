"""Images, masks and probabilities at another size: the convention of the whole project.

A pixel is an area. Pixel i of an axis covers [i, i + 1) and has its centre at i + 0.5; when the
size changes, both ends of the axis stay where they are, so what lay at x in n pixels lies at
x * m / n in m. Every place that resizes, crops, tiles or draws follows this:

- an image is read bilinearly, and averaged over what a new pixel covers where it shrinks, as
  Pillow's BILINEAR does, with which the released codes prepare theirs (``resize_image``);
- a mask takes the old pixel in which the new one's centre lies, as Pillow's NEAREST does
  (``resize_mask``). OpenCV's INTER_NEAREST does not: it reads the pixel at the new one's corner,
  and labels made with it lie half a network pixel off;
- a probability is read bilinearly between centres, without averaging (Detectron2's
  ``sem_seg_postprocess``, ``inference.tiling.resample_part``), and thresholded afterwards.

Between the decoder's levels, and from its logits to the input's size, corners are aligned instead
(align_corners=True), as the papers' codes have it; the network learns with it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def resize_image(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """
    Args:
        image: (height, width, channels) uint8.
        size: (H, W) wanted.

    Returns:
        (channels, H, W) uint8, within one grey level of what Pillow's BILINEAR gives.
    """
    # A copy: Pillow hands out pixels that may not be written to, and torch wants its own.
    pixels = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if image.shape[:2] == size:
        return pixels.contiguous()
    # On bytes PyTorch does Pillow's fixed-point arithmetic, three times as fast.
    resized = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)
    return resized[0].contiguous()


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """
    Args:
        mask: (height, width) uint8.
        size: (H, W) wanted.

    Returns:
        (H, W) uint8, bit for bit what Pillow's NEAREST gives.
    """
    if mask.shape == size:
        return mask.copy()
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
