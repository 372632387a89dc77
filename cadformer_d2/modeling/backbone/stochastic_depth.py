"""Stochastic depth that blocks of different rates can share a compiled graph with."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import StochasticDepth


class SharedStochasticDepth(StochasticDepth):
    """torchvision's, by sample; compiled, its rate is a tensor and no constant of the graph."""

    def __init__(self, rate: float):
        """
        Args:
            rate: probability in [0, 1) that a sample skips the branch.
        """
        super().__init__(rate, mode="row")
        self.register_buffer("kept", torch.tensor(1.0 - rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to the same: in training 0 or x / (1 - rate), sample by sample."""
        if not self.training:
            return x
        if not torch.compiler.is_compiling():
            return super().forward(x)
        drawn = torch.rand([len(x)] + [1] * (x.dim() - 1), device=x.device)
        return x * ((drawn < self.kept) / self.kept).to(x.dtype)
