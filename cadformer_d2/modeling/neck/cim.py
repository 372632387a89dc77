"""CIM, RMSIN's cross-scale interaction module."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...layers.initialization import initialize_linear
from ...structures import TextFeatures
from .build import NECK_REGISTRY
from .cross_scale import REDUCTION, CrossScaleNeck, mixed_dim

NUM_HEADS, KEY_DIM, VALUE_DIM = 8, 32, 64  # of the cross-scale attention, per head


class GroupedFeedForward(nn.Module):
    """BN, 1x1 d -> 2d, BN, 3x3 in d groups, ReLU6, 1x1 2d -> d."""

    def __init__(self, *, dim: int):
        """
        Args:
            dim: d.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(dim),
            nn.Conv2d(dim, 2 * dim, 1),
            nn.BatchNorm2d(2 * dim),
            nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=dim),
            nn.ReLU6(),
            nn.Conv2d(2 * dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, h, w) to (B, d, h, w)."""
        return self.layers(x)


class IntraScaleFeedForward(nn.Module):
    """A separate feed-forward with residual for each scale's channels.

    The block adds its input a second time, as in the released code.
    """

    def __init__(self, *, dims: list[int]):
        """
        Args:
            dims: channels of each scale's share.
        """
        super().__init__()
        self.dims = dims
        self.parts = nn.ModuleList(GroupedFeedForward(dim=dim) for dim in dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, sum of dims, h, w) to the same."""
        shares = x.split(self.dims, dim=1)
        return torch.cat(
            [share + part(share) for share, part in zip(shares, self.parts, strict=True)], dim=1
        )


class CrossScaleAttention(nn.Module):
    """Attention between the map and two coarser copies of it, reduced to the map's positions.

    The released code mixes up the axes of two tensors, a fixed permutation; here the axes match
    their names. Parameter counts agree.
    """

    def __init__(self, *, dim: int, grid: tuple[int, int]):
        """
        Args:
            dim: channels of the map.
            grid: (height, width) of the map; fixed, since a matrix over positions is learnt.
        """
        super().__init__()
        self.grid = grid
        self.norm = nn.BatchNorm2d(dim)
        self.half_size = _build_downsampling(dim, kernel_size=3, stride=2)
        self.third_size = _build_downsampling(dim, kernel_size=5, stride=3)
        self.num_tokens = sum(
            math.ceil(grid[0] / stride) * math.ceil(grid[1] / stride) for stride in (1, 2, 3)
        )
        self.qkv = nn.Linear(dim, NUM_HEADS * (2 * KEY_DIM + VALUE_DIM), bias=False)
        self.qkv_norm = nn.BatchNorm1d(self.qkv.out_features)
        num_positions, value_dim = grid[0] * grid[1], NUM_HEADS * VALUE_DIM
        self.select = nn.Linear(self.num_tokens, num_positions)
        self.local = nn.Sequential(
            nn.Hardswish(), nn.Conv2d(value_dim, value_dim, 3, padding=1, groups=value_dim)
        )
        self.merge = nn.Linear(value_dim, dim)
        self.output = nn.Sequential(nn.BatchNorm2d(dim), nn.Hardswish(), nn.Conv2d(dim, dim, 1))
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) to (B, dim, h, w)."""
        x = self.norm(x)
        scales = (x, self.half_size(x), self.third_size(x))
        tokens = torch.cat([scale.flatten(2) for scale in scales], dim=2).transpose(1, 2)
        # Contiguous before each linear map, so that it is one product for all rows.
        qkv = self.qkv(tokens.contiguous())  # (B, tokens, heads * 128)
        qkv = self.qkv_norm(qkv.transpose(1, 2))
        heads = qkv.unflatten(1, (NUM_HEADS, -1)).transpose(2, 3)  # (B, heads, tokens, 128)
        query, key, value = heads.split([KEY_DIM, KEY_DIM, VALUE_DIM], dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value)
        channels_first = attended.transpose(2, 3).flatten(1, 2)  # (B, heads * 64, tokens)
        selected = self.select(channels_first.contiguous())  # (B, heads * 64, h * w)
        finest = value[:, :, : self.grid[0] * self.grid[1]].transpose(2, 3).flatten(1, 2)
        selected = selected + self.local(finest.unflatten(2, self.grid)).flatten(2)
        merged = self.merge(selected.transpose(1, 2).contiguous())  # (B, h * w, dim)
        return self.output(merged.transpose(1, 2).unflatten(2, self.grid))


def _build_downsampling(dim: int, *, kernel_size: int, stride: int) -> nn.Sequential:
    """A depthwise convolution with a stride, and its norm."""
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(dim, dim, kernel_size, stride=stride, padding=padding, groups=dim),
        nn.BatchNorm2d(dim),
    )


class CrossScaleBlock(nn.Module):
    """X + CSA(X), X + IFF(X), X + CSA(X), X + FFN(X), one after the other."""

    def __init__(self, *, dims: list[int], grid: tuple[int, int]):
        """
        Args:
            dims: channels of each scale's share of the mixed map.
            grid: its (height, width).
        """
        super().__init__()
        dim = sum(dims)
        self.steps = nn.ModuleList(
            [
                CrossScaleAttention(dim=dim, grid=grid),
                IntraScaleFeedForward(dims=dims),
                CrossScaleAttention(dim=dim, grid=grid),
                GroupedFeedForward(dim=dim),
            ]
        )

    def forward(self, mixed: Tensor, _: TextFeatures) -> Tensor:
        """(B, dim, h, w) to (B, dim, h, w); the text is not used."""
        for step in self.steps:
            mixed = mixed + step(mixed)
        return mixed


@NECK_REGISTRY.register()
class CIM(CrossScaleNeck):
    """RMSIN's neck (arXiv 2312.12470), also in CADFormer's released code; the text is not used.

    The grid is stage 4's at INPUT.SIZE. Images of another size are pooled to the same grid: the
    released code accepts 480 x 480 only.
    """

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], mixing_grid: tuple[int, int]):
        """
        Args:
            input_shape: as CrossScaleNeck.
            mixing_grid: (height, width) on which the scales are mixed.
        """
        dims = [spec.channels // REDUCTION for spec in input_shape.values()]
        assert sum(dims) == mixed_dim(input_shape), "stage widths are multiples of the reduction"
        super().__init__(
            input_shape=input_shape, blocks=[CrossScaleBlock(dims=dims, grid=mixing_grid)]
        )
        self.mixing_grid = mixing_grid

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        coarsest = list(input_shape.values())[-1].stride
        height, width = (math.ceil(side / coarsest) for side in cfg.INPUT.SIZE)
        return {**super().from_config(cfg, input_shape, text_shape), "mixing_grid": (height, width)}

    def grid(self, pyramid: dict[str, Tensor]) -> tuple[int, int]:
        return self.mixing_grid
