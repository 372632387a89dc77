"""IIM, RMSIN's intra-scale interaction module: PWAM beside a vision-only branch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from detectron2.config import configurable
from torch import Tensor, nn

from ...layers.gate import LanguageGate
from ...structures import StageInput, StageOutput
from .build import ALIGNMENT_REGISTRY
from .pwam import PWAM


class ReparameterizableBlock(nn.Module):
    """BN(1x1(a)) + BN(3x3(BN(1x1(a)))) + BN(a) on a map of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
        self.wide = nn.Sequential(
            nn.Conv2d(1, 1, 1, bias=False),
            nn.BatchNorm2d(1),
            nn.Conv2d(1, 1, 3, padding=1, bias=False),
            nn.BatchNorm2d(1),
        )
        self.identity = nn.BatchNorm2d(1)

    def forward(self, a: Tensor) -> Tensor:
        """(B, 1, h, w) to (B, 1, h, w)."""
        return self.point(a) + self.wide(a) + self.identity(a)


class VariousReceptiveBranch(nn.Module):
    """Where to look, from vision alone: Q = V * sigmoid(R_2(relu(R_1(channel mean of V))))."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ReparameterizableBlock()
        self.second = ReparameterizableBlock()

    def forward(self, visual: Tensor, map_size: tuple[int, int]) -> Tensor:
        """
        Args:
            visual: V (B, N, C).
            map_size: (h, w), N = h * w.

        Returns:
            Q (B, N, C).
        """
        mean = visual.mean(dim=-1).unflatten(1, map_size)[:, None]  # (B, 1, h, w)
        weight = self.second(self.first(mean).relu()).sigmoid()
        return visual * weight.flatten(1)[..., None]


@ALIGNMENT_REGISTRY.register()
class IIM(PWAM):
    """RMSIN's alignment (arXiv 2312.12470): update gate(F) * F + gate_v(Q) * Q, F to the decoder.

    As PWAM where no next stage reads the update.
    """

    @configurable
    def __init__(self, *, visual_dim: int, updates_visual: bool, **pwam: Any):
        """Args: as PWAM."""
        super().__init__(visual_dim=visual_dim, updates_visual=updates_visual, **pwam)
        self.branch = VariousReceptiveBranch() if updates_visual else None
        self.branch_gate = LanguageGate(dim=visual_dim) if updates_visual else None

    def forward(self, stage: StageInput) -> StageOutput:
        aligned = super().forward(stage)
        if self.branch is None or self.branch_gate is None or aligned.visual_update is None:
            return aligned
        seen = self.branch(stage.visual, stage.map_size)  # Q (B, N_i, C_i)
        return replace(aligned, visual_update=aligned.visual_update + self.branch_gate(seen) * seen)
