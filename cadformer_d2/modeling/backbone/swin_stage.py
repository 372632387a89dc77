"""Detectron2's Swin stage with fused attention and a shift mask that is built once per size."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.swin import BasicLayer, WindowAttention, window_partition
from torch import Tensor, nn

MASKED = -100.0  # Swin's; an attention weight of exp(-100) is nothing
CACHED_SIZES = 64  # four stages of a few image sizes; a mask takes 0.4 to 8 MB at Swin-B


class FusedWindowAttention(nn.Module):
    """softmax(Q K^T / sqrt(d) + bias + shift mask) U within each window, as one fused operator.

    It takes over the parts of Detectron2's WindowAttention, names and all, so weights load as they
    do there.
    """

    def __init__(self, plain: WindowAttention):
        """
        Args:
            plain: whose parameters become this module's.
        """
        super().__init__()
        self.num_heads = plain.num_heads
        self.scale = plain.scale
        self.relative_position_bias_table = plain.relative_position_bias_table
        self.register_buffer("relative_position_index", plain.relative_position_index)
        self.qkv = plain.qkv
        self.proj = plain.proj
        self.kept: tuple[tuple, Tensor | None, Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (B * windows, N, C), the windows of an image one after the other.
            mask: (windows, N, N) added to the scores, the same for every image; or None.

        Returns:
            (B * windows, N, C).
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, N, d)
        bias_of = self.kept_bias if self.keeps_bias() else self.bias
        bias = bias_of(mask, query.dtype)
        if mask is not None:
            bias = bias.repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=self.scale
        )
        return self.proj(attended.transpose(1, 2).flatten(2))

    def bias(self, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        """(windows or 1, heads, N, N): what is added to the scores of an image.

        In the scores' number format before it is repeated over images: half the bytes.
        """
        bias = self.position_bias()[None]
        return (bias if mask is None else bias + mask[:, None]).to(dtype)

    def keeps_bias(self) -> bool:
        """Whether the bias outlives a call: where it is not trained, on a GPU.

        There the few launches count (five a block); on a CPU they are nothing, and memory counts.
        """
        table = self.relative_position_bias_table
        return table.is_cuda and not torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def kept_bias(self, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        """As ``bias``, made anew when the table, the mask or the format is another."""
        table = self.relative_position_bias_table
        made_of = (table.data_ptr(), table._version, dtype)
        if self.kept is None or self.kept[0] != made_of or self.kept[1] is not mask:
            self.kept = (made_of, mask, self.bias(mask, dtype))
        return self.kept[2]

    def position_bias(self) -> Tensor:
        """(heads, N, N): the table's entry for each pair of positions of a window."""
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return bias.T.unflatten(1, self.relative_position_index.shape)


class SwinStage(BasicLayer):
    """The blocks of a stage, without downsampling."""

    def __init__(self, *, dim: int, depth: int, num_heads: int, window_size: int):
        """
        Args:
            dim: channels.
            depth: blocks; every second one works on shifted windows.
            num_heads: attention heads.
            window_size: side of a window, in positions.
        """
        super().__init__(dim, depth, num_heads, window_size=window_size, drop_path=0.0)
        for block in self.blocks:
            block.attn = FusedWindowAttention(block.attn)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, height * width, dim) to the same."""
        for block in self.blocks:
            block.H, block.W = height, width  # how Detectron2's block is told
            x = block(x, self.mask_for(block.shift_size, height, width, x.device))
        return x

    def mask_for(
        self, shift_size: int, height: int, width: int, device: torch.device
    ) -> Tensor | None:
        """What a block's windows may not attend to; None for windows that are not shifted."""
        if not shift_size:
            return None
        return constant_shift_mask(height, width, self.window_size, shift_size, device)


@functools.lru_cache(maxsize=CACHED_SIZES)
def shift_mask(
    height: int, width: int, window_size: int, shift_size: int, device: torch.device
) -> Tensor:
    """Keeps apart what a cyclic shift has brought together from opposite borders.

    Args:
        height, width: of the map, positions; it is padded to multiples of the window.

    Returns:
        (windows, N, N) float32: 0 within a region, MASKED between regions.
    """
    # A tensor made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False), torch.no_grad():
        rows, columns = (
            border_regions(-(-length // window_size) * window_size, window_size, shift_size)
            for length in (height, width)
        )
        regions = (3 * rows[:, None] + columns).float()[None, :, :, None]
        windows = window_partition(regions, window_size).flatten(1)  # (windows, N)
        is_apart = windows[:, None, :] != windows[:, :, None]
        return (is_apart * MASKED).to(device)


@torch.compiler.assume_constant_result
def constant_shift_mask(*of: Any) -> Tensor:
    """As ``shift_mask``; torch.compile, which would trace past a cache, takes it as it is."""
    return shift_mask(*of)


def border_regions(length: int, window_size: int, shift_size: int) -> Tensor:
    """(length,) of 0, 1, 2: before the last window; its first part; what the shift moved there."""
    position = torch.arange(length)
    return (position >= length - window_size).int() + (position >= length - shift_size).int()
