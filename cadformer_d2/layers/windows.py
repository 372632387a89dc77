"""Windows of a feature map: their positions gathered at once, and the masks of shifted ones.

Padding to whole windows, the cyclic shift and the split are one permutation of the positions.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.swin import window_partition
from torch import Tensor

from .exporting import is_exporting

MASKED = -100.0  # Swin's; an attention weight of exp(-100) is negligible
CACHED_SIZES = 64  # four stages, a few image sizes; a mask takes 0.4 to 8 MB in Swin-B
WindowPlaces = tuple[Tensor, Tensor, Tensor]  # of window_places


def to_windows(x: Tensor, places: WindowPlaces) -> Tensor:
    """Rows of maps (B, height * width, C) in the order of their windows, (B, windows * N, C)."""
    if is_exporting():  # a graph takes operators, not gradients of our own
        order, _, empty = places
        is_filled = x.new_ones(len(order)).index_fill(0, empty, 0)
        return x.index_select(1, order) * is_filled[:, None]
    return _ToPlaces.apply(x, *places)


def from_windows(windows: Tensor, places: WindowPlaces) -> Tensor:
    """Join windows (B, windows * N, C) to maps (B, height * width, C); undoes ``to_windows``."""
    if is_exporting():
        return windows.index_select(1, places[1])
    return _FromPlaces.apply(windows, *places)


class _ToPlaces(torch.autograd.Function):
    """Rows gathered in another order; its gradient is gathered back, where index_select adds."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *places: Tensor) -> Tensor:
        ctx.places = places
        order, _, empty = places
        windows = x.index_select(1, order)
        return windows.index_fill_(1, empty, 0) if len(empty) else windows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return from_windows(gradients[0], ctx.places), None, None, None


class _FromPlaces(torch.autograd.Function):
    """The adjoint of ``_ToPlaces``, which undoes it too."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, *places: Tensor) -> Tensor:
        ctx.places = places
        return windows.index_select(1, places[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return to_windows(gradients[0], ctx.places), None, None, None


@functools.lru_cache(maxsize=CACHED_SIZES)
def window_places(
    map_size: tuple[int, int], window_size: int, shift_size: int, device: torch.device
) -> WindowPlaces:
    """How windows and a map's positions lie in each other.

    Returns:
        for every place in the windows, one after the other, its position in the map, 0 where there
        is none; for every position its place; the places without a position.
    """
    # Tensors made in inference mode could not be used in training.
    with torch.inference_mode(mode=False), torch.no_grad():
        height, width = map_size
        position = torch.arange(height * width).view(height, width)
        bottom, right = (-side % window_size for side in map_size)
        position = F.pad(position, (0, right, 0, bottom), value=height * width)  # none: the last
        position = position.roll((-shift_size, -shift_size), dims=(0, 1))
        order = window_partition(position[None, ..., None], window_size).flatten()
        # Sorted by position, so that sizes are known without the values.
        place, empty = order.argsort().tensor_split([height * width])
        found = (order % (height * width), place, empty)
        return tuple(index.to(device) for index in found)


@functools.lru_cache(maxsize=CACHED_SIZES)
def shift_mask(
    map_size: tuple[int, int],
    window_size: int,
    shift_size: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """A mask between positions that the cyclic shift brings together from opposite borders.

    Args:
        map_size: (height, width), positions; it is padded to multiples of the window.

    Returns:
        (windows, N, N): 0 within a region, MASKED between regions.
    """
    # A tensor made in inference mode could not be used in training.
    with torch.inference_mode(mode=False), torch.no_grad():
        rows, columns = (
            _border_regions(-(-length // window_size) * window_size, window_size, shift_size)
            for length in map_size
        )
        regions = (3 * rows[:, None] + columns).float()[None, :, :, None]
        windows = window_partition(regions, window_size).flatten(1)  # (windows, N)
        is_apart = windows[:, None, :] != windows[:, :, None]
        return (is_apart * MASKED).to(device, dtype)


def _border_regions(length: int, window_size: int, shift_size: int) -> Tensor:
    """(length,) of 0, 1, 2: before the last window; its first part; what the shift moved there."""
    position = torch.arange(length)
    return (position >= length - window_size).int() + (position >= length - shift_size).int()
