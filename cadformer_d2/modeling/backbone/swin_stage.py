"""Detectron2's Swin stage with fused attention and a cached shift mask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.swin import (
    BasicLayer,
    SwinTransformerBlock,
    WindowAttention,
)
from torch import Tensor, nn

from ...layers.mixed_precision import compute_dtype
from ...layers.windows import WindowPlaces, from_windows, shift_mask, to_windows, window_places


class FusedWindowAttention(nn.Module):
    """softmax(Q K^T / sqrt(d) + bias + shift mask) U within each window, as one fused operator.

    It takes over the submodules of Detectron2's WindowAttention with their names, so that the same
    weights load.
    """

    relative_position_bias_table: nn.Parameter  # ((2 * side - 1)^2, heads)
    relative_position_index: Tensor  # (N, N)

    def __init__(self, plain: WindowAttention):
        """
        Args:
            plain: its parameters become this module's.
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
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in qkv)  # (B * windows, heads, N, d)
        bias_of = self.get_cached_bias if self.caches_bias() else self.bias
        bias = bias_of(mask, query.dtype)
        if mask is not None:
            bias = bias.repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=self.scale
        )
        return self.proj(attended.transpose(1, 2).flatten(2))

    def bias(self, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The bias on an image's scores, (windows or 1, heads, N, N).

        Cast to the scores' dtype before it is repeated over images: half the bytes.
        """
        bias = self._position_bias(dtype)[None]
        return bias if mask is None else bias + mask[:, None].to(dtype)

    def caches_bias(self) -> bool:
        """Whether to cache the bias between calls: without gradients, on a GPU.

        There the launches matter (five per block); on a CPU they cost nothing, and memory matters.
        """
        table = self.relative_position_bias_table
        return table.is_cuda and not torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def get_cached_bias(self, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
        """As ``bias``, recomputed when the table, the mask or the dtype changes."""
        table = self.relative_position_bias_table
        made_of = (table.data_ptr(), table._version, dtype)
        if self.kept is None or self.kept[0] != made_of or self.kept[1] is not mask:
            self.kept = (made_of, mask, self.bias(mask, dtype))
        return self.kept[2]

    def _position_bias(self, dtype: torch.dtype) -> Tensor:
        """(heads, N, N): the table's entry for each pair of positions of a window."""
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()].to(dtype)
        # Contiguous: CUDA's fused kernels need contiguous rows of scores; otherwise attention would
        # silently fall back to separate operators in float32.
        return bias.T.contiguous().unflatten(1, self.relative_position_index.shape)


class SwinBlock(nn.Module):
    """x + s * attention of the normed windows, then x + s' * MLP(LN(x)).

    It takes over the submodules of Detectron2's block with their names. Places, mask and stochastic
    depth are arguments, so that torch.compile shares one graph between blocks of one size.
    """

    drop_path: nn.Module

    def __init__(self, plain: SwinTransformerBlock):
        """
        Args:
            plain: its submodules become this module's.
        """
        super().__init__()
        self.window_size = plain.window_size
        self.shift_size = plain.shift_size
        self.norm1 = plain.norm1
        self.attn = FusedWindowAttention(plain.attn)
        self.drop_path = plain.drop_path
        self.norm2 = plain.norm2
        self.mlp = plain.mlp

    def forward(
        self,
        x: Tensor,
        places: WindowPlaces,
        mask: Tensor | None,
        kept: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """
        Args:
            x: (B, height * width, C).
            places: of ``window_places``.
            mask: of ``shift_mask`` for shifted windows, else None.
            kept: s and s', (B, 1, 1) each, of stochastic depth; None: both 1.

        Returns:
            (B, height * width, C).
        """
        # Round before moving into windows: the product rounds anyway.
        normed = self.norm1(x).to(compute_dtype(x))
        windows = to_windows(normed, places)  # (B, windows * N, C)
        attended = self.attn(windows.reshape(-1, self.window_size**2, x.shape[-1]), mask)
        attended = from_windows(attended.reshape(windows.shape), places)
        x = x + (attended if kept is None else attended * kept[0])
        response = self.mlp(self.norm2(x))
        return x + (response if kept is None else response * kept[1])

    def draw_stochastic_depth(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Draw stochastic depth's factors for the samples of a batch; None if nothing is dropped.

        0 for a dropped branch, 1 / (1 - rate) for a kept one.
        """
        if not self.training or isinstance(self.drop_path, nn.Identity):
            return None
        ones = x.new_ones(len(x), 1, 1)
        return self.drop_path(ones), self.drop_path(ones)


class SwinStage(BasicLayer):
    """The blocks of a stage, without downsampling."""

    blocks: nn.ModuleList

    def __init__(self, *, dim: int, depth: int, num_heads: int, window_size: int):
        """
        Args:
            dim: channels.
            depth: blocks; every second one works on shifted windows.
            num_heads: attention heads.
            window_size: side of a window, in positions.
        """
        super().__init__(dim, depth, num_heads, window_size=window_size, drop_path=0.0)
        self.blocks = nn.ModuleList(SwinBlock(block) for block in self.blocks)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, height * width, dim) to the same."""
        size = (height, width)
        for block in cast(Iterable[SwinBlock], self.blocks):
            mask = None
            if block.shift_size:
                how = (self.window_size, block.shift_size, compute_dtype(x), x.device)
                mask = shift_mask(size, *how)
            places = window_places(size, self.window_size, block.shift_size, x.device)
            x = block(x, places, mask, block.draw_stochastic_depth(x))
        return x
