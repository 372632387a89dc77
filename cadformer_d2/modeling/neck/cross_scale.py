"""The frame of CIM and TMEM: pool all scales to one grid, mix there, and modulate every scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...structures import TextFeatures

REDUCTION = 4  # of all scales' channels together, on the common grid


class ScaleAwareGate(nn.Module):
    """BN(W l) * Up(hsigmoid(BN(W' g))) + Up(BN(W'' g)): a local map modulated by a global one."""

    def __init__(self, *, dim: int):
        """
        Args:
            dim: channels of both maps.
        """
        super().__init__()
        self.local, self.gate, self.shift = (
            nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim)) for _ in range(3)
        )

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        """
        Args:
            local: l (B, C, h, w).
            context: g (B, C, h', w').

        Returns:
            (B, C, h, w).
        """
        size = local.shape[-2:]
        gate, shift = (
            F.interpolate(map_, size=size, mode="bilinear", align_corners=False)
            for map_ in (F.hardsigmoid(self.gate(context)), self.shift(context))
        )
        return self.local(local) * gate + shift


class CrossScaleNeck(nn.Module):
    """All maps pooled to stage 4's grid and joined, reduced, mixed, expanded; a gate per scale."""

    reads_text = False

    def __init__(self, *, input_shape: dict[str, ShapeSpec], blocks: Iterable[nn.Module]):
        """
        Args:
            input_shape: the backbone's maps by name, finest first.
            blocks: called one after the other with the mixed map (B, d, h_4, w_4) and the text;
                d is ``mixed_dim(input_shape)``.
        """
        super().__init__()
        self.channels = {name: spec.channels for name, spec in input_shape.items()}
        joined, mixed = sum(self.channels.values()), mixed_dim(input_shape)
        self.reduce = nn.Conv2d(joined, mixed, 1)
        self.blocks = nn.ModuleList(blocks)
        self.expand = nn.Sequential(nn.BatchNorm2d(mixed), nn.Conv2d(mixed, joined, 1))
        self.gates = nn.ModuleDict(
            {name: ScaleAwareGate(dim=dim) for name, dim in self.channels.items()}
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        return {"input_shape": input_shape}

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> dict[str, Tensor]:
        """
        Args:
            pyramid: (B, C_i, h_i, w_i) by name, finest first.
            text: as it left the backbone.

        Returns:
            maps of the same names and shapes.
        """
        grid = self.grid(pyramid)
        pooled = [F.adaptive_avg_pool2d(pyramid[name], grid) for name in self.channels]
        mixed = self.reduce(torch.cat(pooled, dim=1))  # (B, d, h_4, w_4)
        for block in self.blocks:
            mixed = block(mixed, text)
        contexts = self.expand(mixed).split(list(self.channels.values()), dim=1)
        return {
            name: self.gates[name](pyramid[name], context)
            for name, context in zip(self.channels, contexts, strict=True)
        }

    def grid(self, pyramid: dict[str, Tensor]) -> tuple[int, int]:
        """(height, width) of the grid on which the scales are mixed: the coarsest map's."""
        height, width = next(reversed(pyramid.values())).shape[-2:]
        return height, width


def mixed_dim(input_shape: dict[str, ShapeSpec]) -> int:
    """d, channels of the mixed map: a quarter of all scales' together (480 at Swin-B)."""
    return sum(spec.channels for spec in input_shape.values()) // REDUCTION
