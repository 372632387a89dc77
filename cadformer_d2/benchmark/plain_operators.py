"""Reference implementations of the accelerated operators, written as their equations read.

The tests compare the package's operators with them, and the benchmark's --reference times them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.swin import BasicLayer, SwinTransformerBlock, WindowAttention
from torch import Tensor, nn

from ..layers.attention import CrossAttention
from ..layers.convolution import Convolution3x3
from ..layers.rotated_conv import AdaptiveRotatedConv2d
from ..modeling.backbone.swin_stage import FusedWindowAttention, SwinBlock, SwinStage


def _window_attention(self: FusedWindowAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d) + bias + mask) U, by Detectron2's own WindowAttention."""
    side = math.isqrt(x.shape[1])
    plain = WindowAttention.__new__(WindowAttention)
    nn.Module.__init__(plain)
    plain.num_heads, plain.scale, plain.window_size = self.num_heads, self.scale, (side, side)
    plain.qkv, plain.proj = self.qkv, self.proj
    plain.relative_position_bias_table = self.relative_position_bias_table
    plain.relative_position_index = self.relative_position_index
    plain.softmax, plain.attn_drop, plain.proj_drop = (
        nn.Softmax(dim=-1),
        nn.Identity(),
        nn.Identity(),
    )
    return plain(x, mask)


def _swin_stage(self: SwinStage, x: Tensor, height: int, width: int) -> Tensor:
    """Detectron2's stage, which builds the shift mask anew on every call."""
    return BasicLayer.forward(self, x, height, width)[0]


def _cross_attention(
    self: CrossAttention, query: Tensor, key: Tensor, value: Tensor, is_key: Tensor | None
) -> Tensor:
    """softmax(Q K^T / sqrt(dim)) U, one head after the other."""
    dim = query.shape[-1]
    heads = []
    for q, k, u in zip(
        *(x.chunk(self.num_heads, dim=-1) for x in (query, key, value)), strict=True
    ):
        scores = q @ k.transpose(1, 2) / math.sqrt(dim)
        if is_key is not None:
            scores = scores.masked_fill(~is_key[:, None, :], -math.inf)
        heads.append(scores.softmax(dim=-1) @ u)
    return torch.cat(heads, dim=-1)


def _convolve_rotated(self: AdaptiveRotatedConv2d, x: Tensor) -> Tensor:
    """Per image: rotate each of the n kernels, sum them by their weights, convolve."""
    angles, weights = self.router(x)
    return torch.cat(
        [
            F.conv2d(image[None], _combine_rotated_kernels(self.weight, angle, weight), padding=1)
            for image, angle, weight in zip(x, angles, weights, strict=True)
        ]
    )


def _combine_rotated_kernels(kernels: Tensor, angles: Tensor, weights: Tensor) -> Tensor:
    """sum_j weight_j Rot(W_j, angle_j), each cell read bilinearly from the old kernel's grid."""
    offset = torch.tensor([-1.0, 0.0, 1.0], device=kernels.device)
    v, u = torch.meshgrid(offset, offset, indexing="ij")
    total = torch.zeros_like(kernels[0])
    for kernel, angle, weight in zip(kernels, angles, weights, strict=True):
        read_u = (u * angle.cos() - v * angle.sin()).clamp(-1, 1)
        read_v = (u * angle.sin() + v * angle.cos()).clamp(-1, 1)
        grid = torch.stack([read_u, read_v], dim=-1).expand(len(kernel), -1, -1, -1)
        turned = F.grid_sample(kernel, grid.to(kernel.dtype), align_corners=True)
        total = total + weight * turned
    return total


def _decoder_layer(
    self: nn.TransformerDecoderLayer,
    positions: Tensor,
    words: Tensor,
    memory_key_padding_mask: Tensor,
) -> Tensor:
    """Self-attention, cross-attention and feed-forward, each added and normalised (post-norm).

    Positions (N, B, C) and words (T, B, C), as PyTorch's own layer has them.
    """
    positions, words = positions.transpose(0, 1), words.transpose(0, 1)
    attended = _multi_head_attention(self.self_attn, positions, positions, None)
    x = self.norm1(positions + self.dropout1(attended))
    attended = _multi_head_attention(self.multihead_attn, x, words, ~memory_key_padding_mask)
    x = self.norm2(x + self.dropout2(attended))
    hidden = self.dropout(self.linear1(x).relu())
    return self.norm3(x + self.dropout3(self.linear2(hidden))).transpose(0, 1)


def _multi_head_attention(
    attention: nn.MultiheadAttention, query: Tensor, memory: Tensor, is_key: Tensor | None
) -> Tensor:
    """softmax(Q K^T / sqrt(d)) U for each head."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k, u = (
        F.linear(x, weight, bias)
        for x, weight, bias in zip((query, memory, memory), weights, biases, strict=True)
    )
    heads = []
    for q_, k_, u_ in zip(*(x.chunk(attention.num_heads, dim=-1) for x in (q, k, u)), strict=True):
        scores = q_ @ k_.transpose(1, 2) / math.sqrt(q_.shape[-1])
        if is_key is not None:
            scores = scores.masked_fill(~is_key[:, None, :], -math.inf)
        heads.append(F.dropout(scores.softmax(dim=-1), attention.dropout, attention.training) @ u_)
    return attention.out_proj(torch.cat(heads, dim=-1))


REPLACED = (
    (FusedWindowAttention, "forward", _window_attention),
    (SwinBlock, "forward", SwinTransformerBlock.forward),
    (SwinStage, "forward", _swin_stage),
    (CrossAttention, "attend", _cross_attention),
    (Convolution3x3, "forward", nn.Conv2d.forward),
    (AdaptiveRotatedConv2d, "forward", _convolve_rotated),
    (nn.TransformerDecoderLayer, "forward", _decoder_layer),
)


@contextmanager
def plain_operators() -> Iterator[None]:
    """Within the context, every model computes with the operators above."""
    with ExitStack() as stack:
        for owner, name, plain in REPLACED:
            stack.enter_context(patch.object(owner, name, plain))
        yield
