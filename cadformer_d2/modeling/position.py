"""An absolute position signal for backbones with only relative positions."""

from __future__ import annotations

import math

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn


class SinCosPosition(nn.Module):
    """Low-frequency sine and cosine waves along both axes, mapped to the width of the feature.

    Wave k = 1..K runs k / 2 times across the image, so neighbouring positions have like signals
    and "upper left" is a smooth function of them. The coordinates are relative to the image, so
    another input size sees the same signal.
    """

    def __init__(self, *, dim: int, num_waves: int):
        """
        Args:
            dim: channels of the feature the signal is added to.
            num_waves: K, waves per axis.
        """
        super().__init__()
        self.num_waves = num_waves
        self.projection = nn.Linear(4 * num_waves, dim)

    def forward(self, height: int, width: int) -> Tensor:
        """The signal (1, height * width, dim) of a map of that size."""
        y = self.waves(height)[:, None, :].expand(-1, width, -1)
        x = self.waves(width)[None, :, :].expand(height, -1, -1)
        signal = torch.cat([y, x], dim=-1).flatten(0, 1)[None]
        return self.projection(signal.to(self.projection.weight.dtype))

    def waves(self, length: int) -> Tensor:
        """Sines and cosines (length, 2 K) at the centres of ``length`` cells in [0, 1].

        In float32 at least: with a half format's digits the waves would move.
        """
        device = self.projection.weight.device
        dtype = torch.promote_types(self.projection.weight.dtype, torch.float32)
        centres = (torch.arange(length, device=device) + 0.5) / length
        wave_numbers = math.pi * torch.arange(1, self.num_waves + 1, dtype=dtype, device=device)
        phase = centres[:, None] * wave_numbers
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


def build_position(cfg: CfgNode, *, dim: int) -> SinCosPosition | None:
    """The position signal named by MODEL.POSITION.NAME; None for "none".

    Raises:
        ValueError: another name.
    """
    name = cfg.MODEL.POSITION.NAME
    if name == "none":
        return None
    if name == "sincos":
        return SinCosPosition(dim=dim, num_waves=cfg.MODEL.POSITION.NUM_WAVES)
    raise ValueError(f"MODEL.POSITION.NAME is {name!r}; known names: none, sincos")
