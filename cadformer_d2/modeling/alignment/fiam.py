"""FIAM, FIANet's fine-grained image-text alignment: the expression, its object, its place."""

from __future__ import annotations

from dataclasses import replace

import torch
from detectron2.config import configurable
from torch import Tensor, nn

from ...layers.attention import PixelWordAttention
from ...layers.gate import LanguageGate
from ...layers.initialization import initialize_linear
from ...structures import StageInput, StageOutput, TextFeatures
from .build import ALIGNMENT_REGISTRY
from .pwam import PWAM

REDUCTION = 8  # of the channels, in the modulation's hidden layer


class ObjectPositionBranch(nn.Module):
    """s * gate(o) * o: what the object's words point to, where the place's words allow it.

    o = PWA(V, L_obj); s = sigmoid(3x3 of [mean, maximum over channels of PWA(V, L_pos)]).
    """

    def __init__(self, *, visual_dim: int, text_dim: int, num_heads: int):
        """Args: as PWAM."""
        super().__init__()
        sizes = {"query_dim": visual_dim, "memory_dim": text_dim, "dim": visual_dim}
        self.object_attention = PixelWordAttention(**sizes, num_heads=num_heads)
        self.object_gate = LanguageGate(dim=visual_dim)
        self.position_attention = PixelWordAttention(**sizes, num_heads=num_heads)
        self.place = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(
        self,
        visual: Tensor,
        object_words: TextFeatures,
        position_words: TextFeatures,
        map_size: tuple[int, int],
    ) -> Tensor:
        """From V (B, N, C) and the two readings of the expression to (B, N, C)."""
        # Contiguous, so that the gate's linear maps are one product for all positions.
        response = self.object_attention(visual, object_words).contiguous()
        response = self.object_gate(response) * response
        placed = self.position_attention(visual, position_words)
        summary = torch.stack([placed.mean(dim=-1), placed.amax(dim=-1)], dim=1)  # (B, 2, N)
        place = self.place(summary.unflatten(2, map_size)).sigmoid()  # (B, 1, h, w)
        return place.flatten(1)[..., None] * response


class ChannelModulation(nn.Module):
    """k = sigmoid(W_b relu(W_a mean over positions of V)), one weight a channel."""

    def __init__(self, *, dim: int):
        """
        Args:
            dim: channels.
        """
        super().__init__()
        hidden = max(1, dim // REDUCTION)
        self.weigh = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.Sigmoid()
        )
        self.apply(initialize_linear)

    def forward(self, visual: Tensor) -> Tensor:
        """From V (B, N, C) to weights (B, 1, C) in (0, 1)."""
        return self.weigh(visual.mean(dim=1, keepdim=True))


@ALIGNMENT_REGISTRY.register()
class FIAM(PWAM):
    """FIANet's alignment (arXiv 2409.13637): update k * (gate(F) * F + object and place branch).

    F alone, the reading of the whole expression, goes to neck and decoder, as in the released code.
    The object branch is exactly zero if at most one token is the object's (PixelWordAttention);
    INPUT.ROLE_SPECIAL_TOKENS changes that. As PWAM where no next stage reads the update.
    """

    reads_roles = True

    @configurable
    def __init__(self, *, dropout: float, updates_visual: bool, decoder_feature: str, **sizes: int):
        """Args: as PWAM."""
        super().__init__(
            dropout=dropout,
            updates_visual=updates_visual,
            decoder_feature=decoder_feature,
            **sizes,
        )
        self.branch = ObjectPositionBranch(**sizes) if updates_visual else None
        self.modulation = ChannelModulation(dim=sizes["visual_dim"]) if updates_visual else None

    def forward(self, stage: StageInput) -> StageOutput:
        aligned = super().forward(stage)
        if self.branch is None or self.modulation is None or aligned.visual_update is None:
            return aligned
        text, visual = stage.text, stage.visual
        assert text.object_words and text.position_words, "reads_roles requests them"
        pointed = self.branch(visual, text.object_words, text.position_words, stage.map_size)
        update = self.modulation(visual) * (aligned.visual_update + pointed)
        return replace(aligned, visual_update=update)
