"""Resampling of images, masks and probabilities: the convention of the whole project.

A pixel is an area. Pixel i of an axis covers [i, i + 1) and has its centre at i + 0.5. Resizing
keeps both ends of the axis, so position x of n pixels becomes x * m / n of m pixels. All code that
resizes, crops, tiles or draws follows this:

- images are resampled bilinearly, with averaging over the area of a new pixel when shrinking, like
  Pillow's BILINEAR, which the released codes use (``resize_image``);
- masks take the old pixel that contains the new one's centre, like Pillow's NEAREST
  (``resize_mask``). OpenCV's INTER_NEAREST reads the pixel at the new one's corner instead, which
  shifts labels by half a network pixel;
- probabilities are resampled bilinearly between centres, without averaging (Detectron2's
  ``sem_seg_postprocess``, ``inference.tiling.resample_part``), and thresholded afterwards.

Between the decoder's levels, and from its logits to the input's size, corners are aligned instead
(align_corners=True), as in the papers' codes; the network is trained with it.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def resize_image(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Resize an image.

    Args:
        image: (height, width, channels) uint8.
        size: (H, W) wanted.

    Returns:
        (channels, H, W) uint8, within one grey level of Pillow's BILINEAR.
    """
    # A copy: Pillow's pixels are read-only, and torch needs writable ones.
    pixels = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if image.shape[:2] == size:
        return pixels.contiguous()
    # PyTorch on bytes uses Pillow's fixed-point arithmetic, three times as fast.
    resized = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)
    return resized[0].contiguous()


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask.

    Args:
        mask: (height, width) uint8.
        size: (H, W) wanted.

    Returns:
        (H, W) uint8, identical to Pillow's NEAREST.
    """
    if mask.shape == size:
        return mask.copy()
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
