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

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

HIGHEST_PRECISION = 22  # bits of a weight's fraction
WEIGHT_LIMIT = 2**15  # weights are 16-bit integers
LARGEST_EXACT = 2**24  # float32 holds every whole number up to it
# New pixels of a block. Measured: 8.5 ms for three bands of 1024 x 1024 to 480 x 480; with blocks
# of half or twice as many rows and columns, 10 to 19.
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 16, 32


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
    """As ``resize_image`` to the last bit, where PyTorch is not installed.

    Along rows, then along columns, each pixel is a sum of integers: PyTorch's weights have as many
    bits after the point as 16-bit integers allow, and each axis rounds to bytes.

    Args:
        image: (height, width, channels) uint8.
        size: (H, W) wanted.

    Returns:
        (H, W, channels) uint8.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    (rows, row_bits), (columns, column_bits) = (
        _fixed_point(_antialiasing(old, new))
        for old, new in zip(image.shape[:2], size, strict=True)
    )
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    resized = np.empty((*size, len(planes)), np.uint8)
    across = _split_into_blocks(columns, COLUMNS_AT_ONCE)
    for block in _split_into_blocks(rows, ROWS_AT_ONCE):
        old_rows = planes[:, block.old].astype(columns.shares.dtype)
        narrow = _round_to_bytes(_resample_columns(old_rows, across, size[1]), column_bits)
        total = block.shares.T @ narrow.astype(rows.shares.dtype)
        resized[block.new] = _round_to_bytes(total, row_bits).transpose(1, 2, 0)
    return resized


def resize_values(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As ``resize_image``, of floats without rounding.

    Args:
        values: (channels, height, width).
        size: (H, W) wanted.

    Returns:
        (channels, H, W) float32; NaN where a value that is averaged is not finite.
    """
    if values.dtype.kind == "f" and not (is_finite := np.isfinite(values)).all():
        # A product would spread what is not finite over its block, because 0 * NaN is NaN.
        resized = resize_values(np.where(is_finite, values, 0), size)
        resized[resize_values(~is_finite, size) > 0] = np.nan
        return resized
    rows, columns = (
        _antialiasing(old, new, np.float32) for old, new in zip(values.shape[1:], size, strict=True)
    )
    resized = np.empty((len(values), *size), np.float32)
    across = _split_into_blocks(columns, COLUMNS_AT_ONCE)
    for block in _split_into_blocks(rows, ROWS_AT_ONCE):
        narrow = _resample_columns(values[:, block.old].astype(np.float32), across, size[1])
        np.matmul(block.shares.T, narrow, out=resized[:, block.new])
    return resized


@dataclass(frozen=True)
class _Neighbours:
    """Which old pixels of an axis make each new one, and their shares."""

    num_old: int
    first: np.ndarray  # (new,) the first of them
    shares: np.ndarray  # (new, taps) float of it and of those after it; 0 past the last old pixel


@dataclass(frozen=True)
class _Block:
    """Neighbouring new pixels of an axis, as a product of old ones with a small matrix."""

    old: slice
    new: slice
    shares: np.ndarray  # (old, new)


def _antialiasing(old: int, new: int, dtype: type = np.float64) -> _Neighbours:
    """Shares that are a triangle over the area of each new pixel and sum to 1."""
    scale = old / new
    width = max(scale, 1.0)  # half of the triangle's base
    centre = scale * (np.arange(new) + 0.5)
    first = np.maximum((centre - width + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + width + 0.5).astype(np.int64), old)  # one past it
    pixels = first[:, None] + np.arange((last - first).max())
    shares = np.maximum(1 - np.abs((pixels - centre[:, None] + 0.5) / width), 0)
    shares[pixels >= last[:, None]] = 0
    shares /= shares.sum(axis=1, keepdims=True)
    return _Neighbours(old, first, shares.astype(dtype))


def _fixed_point(neighbours: _Neighbours) -> tuple[_Neighbours, int]:
    """Shares as whole numbers of 16 bits, in floats that sum their products with bytes exactly.

    Returns:
        them, and how many of their bits are after the point.
    """
    bits = _weight_precision(float(neighbours.shares.max()))
    fixed = np.floor(neighbours.shares * 2**bits + 0.5)
    fits = 255 * fixed.sum(axis=1).max() <= LARGEST_EXACT
    return replace(neighbours, shares=fixed.astype(np.float32 if fits else np.float64)), bits


def _weight_precision(largest: float) -> int:
    """Bits after the point with which the largest weight still is a 16-bit integer."""
    for bits in range(HIGHEST_PRECISION):
        if int(0.5 + largest * 2 ** (bits + 1)) >= WEIGHT_LIMIT:
            return bits
    return HIGHEST_PRECISION


def _split_into_blocks(neighbours: _Neighbours, side: int) -> list[_Block]:
    """Blocks of ``side`` new pixels: few enough that little of a matrix is 0."""
    num_taps = neighbours.shares.shape[1]
    taps = np.arange(num_taps)[:, None]
    blocks = []
    for start in range(0, len(neighbours.first), side):
        new = slice(start, start + side)
        first, shares = neighbours.first[new], neighbours.shares[new]
        rows = first - first[0] + taps  # of the matrix, (taps, new)
        matrix = np.zeros((rows.max() + 1, len(first)), shares.dtype)
        matrix[rows, np.arange(len(first))] = shares.T
        end = min(int(first[0]) + len(matrix), neighbours.num_old)
        old = slice(int(first[0]), end)
        blocks.append(_Block(old, new, matrix[: end - old.start]))
    return blocks


def _resample_columns(planes: np.ndarray, blocks: list[_Block], width: int) -> np.ndarray:
    """(channels, height, old width) as (channels, height, ``width``)."""
    channels, height, _ = planes.shape
    rows = planes.reshape(channels * height, -1)
    resampled = np.empty((len(rows), width), planes.dtype)
    for block in blocks:
        np.matmul(rows[:, block.old], block.shares, out=resampled[:, block.new])
    return resampled.reshape(channels, height, width)


def _round_to_bytes(total: np.ndarray, bits: int) -> np.ndarray:
    """Round fixed-point numbers, which are overwritten, halves up.

    Rounded shares may sum to a little more than 1, hence the limit; sums past ``LARGEST_EXACT``
    are above it.
    """
    total += 1 << bits >> 1
    total *= 0.5**bits
    return np.minimum(total, 255, out=total).astype(np.uint8)


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
