"""PWAM, LAVT's pixel-word attention with its language gate."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from ...layers.attention import PixelWordAttention
from ...layers.gate import LanguageGate
from ...structures import StageInput, StageOutput, TextFeatures
from .build import ALIGNMENT_REGISTRY, Alignment, AlignmentSpec

DECODER_FEATURES = ("gated", "fused")


def build_projection(dim: int, dropout: float) -> nn.Sequential:
    """A 1x1 map over channels with GELU and dropout."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout))


class LGVLA(nn.Module):
    """Language-guided vision-language alignment, equations 1-5; PWAM in the papers before.

    F = P_out(P(V) * O), O = PixelWordAttention(V, L).
    """

    def __init__(self, *, visual_dim: int, text_dim: int, num_heads: int, dropout: float):
        """
        Args:
            visual_dim: C_i, channels of this stage.
            text_dim: C_l, channels of the text.
            num_heads: attention heads.
            dropout: after each projection, in [0, 1).
        """
        super().__init__()
        self.visual_projection = build_projection(visual_dim, dropout)
        self.attention = PixelWordAttention(
            query_dim=visual_dim, memory_dim=text_dim, dim=visual_dim, num_heads=num_heads
        )
        self.output_projection = build_projection(visual_dim, dropout)

    def forward(self, visual: Tensor, text: TextFeatures) -> Tensor:
        """From V (B, N, C_i) and L to the language-guided visual feature F (B, N, C_i)."""
        return self.output_projection(self.visual_projection(visual) * self.attention(visual, text))


@ALIGNMENT_REGISTRY.register()
class PWAM(Alignment):
    """One-way alignment of LAVT (arXiv 2112.02244), also LGCE's; the other alignments extend it.

    V_i + gate(F_i) * F_i to the next stage; F_i ("fused") or gate(F_i) * F_i ("gated") to neck and
    decoder; the text stays as it is.
    """

    @configurable
    def __init__(
        self,
        *,
        visual_dim: int,
        text_dim: int,
        num_heads: int,
        dropout: float,
        updates_visual: bool,
        decoder_feature: str,
    ):
        """
        Args:
            visual_dim: C_i.
            text_dim: C_l.
            num_heads: attention heads.
            dropout: after each projection, in [0, 1).
            updates_visual: whether a next stage reads the visual update.
            decoder_feature: "gated" or "fused", what neck and decoder read.

        Raises:
            ValueError: another feature.
        """
        super().__init__()
        if decoder_feature not in DECODER_FEATURES:
            raise ValueError(
                f"MODEL.ALIGNMENT.DECODER_FEATURE is {decoder_feature!r}; known: "
                f"{', '.join(DECODER_FEATURES)}"
            )
        self.updates_visual = updates_visual
        self.decoder_reads_gated = decoder_feature == "gated"
        self.lgvla = LGVLA(
            visual_dim=visual_dim, text_dim=text_dim, num_heads=num_heads, dropout=dropout
        )
        gate_is_read = updates_visual or self.decoder_reads_gated
        self.visual_gate = LanguageGate(dim=visual_dim) if gate_is_read else None

    @classmethod
    def from_config(cls, cfg: CfgNode, spec: AlignmentSpec) -> dict[str, Any]:
        return {
            "visual_dim": spec.visual_dim,
            "text_dim": spec.text_dim,
            "num_heads": cfg.MODEL.ALIGNMENT.NUM_HEADS[spec.stage],
            "dropout": cfg.MODEL.ALIGNMENT.DROPOUT,
            "updates_visual": spec.feeds_next_stage,
            "decoder_feature": cfg.MODEL.ALIGNMENT.DECODER_FEATURE,
        }

    def forward(self, stage: StageInput) -> StageOutput:
        fused = self.lgvla(stage.visual, stage.text)  # F_i (B, N_i, C_i)
        if self.visual_gate is None:
            return StageOutput(fused=fused, visual_update=None, text=stage.text)
        gated = self.visual_gate(fused) * fused
        return StageOutput(
            fused=gated if self.decoder_reads_gated else fused,
            visual_update=gated if self.updates_visual else None,
            text=stage.text,
        )
