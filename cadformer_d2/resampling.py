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

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

HIGHEST_PRECISION = 22  # bits of a weight's fraction
WEIGHT_LIMIT = 2**15  # weights are 16-bit integers
ROWS_AT_ONCE = 32  # new ones, which a processor's cache holds


def resize_image(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Resize an image with PyTorch.

    Args:
        image: (height, width, channels) uint8.
        size: (H, W) wanted.

    Returns:
        (channels, H, W) uint8, within one grey level of Pillow's BILINEAR.
    """
    import torch
    import torch.nn.functional as F

    # A copy: Pillow's pixels are read-only, and torch needs writable ones.
    pixels = torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)
    if image.shape[:2] == size:
        return pixels.contiguous()
    # PyTorch on bytes uses Pillow's fixed-point arithmetic, three times as fast.
    resized = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)
    return resized[0].contiguous()


def resize_pixels(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As ``resize_image`` to the last bit, where PyTorch is not installed; several times slower.

    Along rows, then along columns, each pixel is a sum of integers: PyTorch's weights have as many
    bits after the point as 16-bit integers allow, and each axis rounds to bytes.

    Args:
        image: (height, width, channels) uint8.
        size: (H, W) wanted.

    Returns:
        (H, W, channels) uint8.
    """
    for axis in (1, 0):
        if image.shape[axis] == size[axis]:
            continue
        first, weights = _antialiasing_weights(image.shape[axis], size[axis])
        bits = _weight_precision(float(weights.max()))
        fixed = np.floor(weights * 2**bits + 0.5).astype(np.int32)
        total = _sum_neighbours(np.moveaxis(image, axis, 0), first, fixed)
        rounded = (total + (1 << bits >> 1)) >> bits
        image = np.moveaxis(np.clip(rounded, 0, 255).astype(np.uint8), 0, axis)
    return np.ascontiguousarray(image)


def resize_values(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As ``resize_image``, of floats without rounding.

    Args:
        values: (channels, height, width).
        size: (H, W) wanted.

    Returns:
        (channels, H, W) float32.
    """
    values = values.astype(np.float32)
    for axis, length in ((2, size[1]), (1, size[0])):
        if values.shape[axis] != length:
            first, weights = _antialiasing_weights(values.shape[axis], length)
            total = _sum_neighbours(np.moveaxis(values, axis, 0), first, weights.astype(np.float32))
            values = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(values)


def _antialiasing_weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Which old pixels make each new one, and their shares: a triangle over its area.

    Returns:
        the first of them (new,) and weights (new, taps) of it and those after it; rows sum to 1.
    """
    scale = old / new
    width = max(scale, 1.0)  # half of the triangle's base
    centre = scale * (np.arange(new) + 0.5)
    first = np.maximum((centre - width + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + width + 0.5).astype(np.int64), old)  # one past it
    pixels = first[:, None] + np.arange((last - first).max())
    weights = np.maximum(1 - np.abs((pixels - centre[:, None] + 0.5) / width), 0)
    weights[pixels >= last[:, None]] = 0
    return first, weights / weights.sum(axis=1, keepdims=True)


def _weight_precision(largest: float) -> int:
    """Bits after the point with which the largest weight still is a 16-bit integer."""
    for bits in range(HIGHEST_PRECISION):
        if int(0.5 + largest * 2 ** (bits + 1)) >= WEIGHT_LIMIT:
            return bits
    return HIGHEST_PRECISION


def _sum_neighbours(values: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums along the first axis: the first neighbour of each, and weights (new, taps)."""
    values = np.ascontiguousarray(values)  # so that a neighbour is one copy
    total = np.zeros((len(first), *values.shape[1:]), weights.dtype)
    for start in range(0, len(first), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        for tap in range(weights.shape[1]):
            places = np.minimum(first[block] + tap, len(values) - 1)  # a weight past it is 0
            shares = weights[block, tap].reshape(-1, *[1] * (values.ndim - 1))
            total[block] += np.multiply(values[places], shares, dtype=weights.dtype)
    return total


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
