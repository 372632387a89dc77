"""SMGAM, the paper's semantic mutual guidance alignment module: LGVLA and VGLVA side by side."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from ...layers.attention import PixelWordAttention, WordPixelAttention
from ...layers.gate import LanguageGate
from ...structures import StageOutput, TextFeatures
from .build import ALIGNMENT_REGISTRY, AlignmentSpec


def projection(dim: int, dropout: float) -> nn.Sequential:
    """A 1x1 map over channels with GELU and dropout."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout))


class LGVLA(nn.Module):
    """Language-guided vision-language alignment, equations 1-5.

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
        self.visual_projection = projection(visual_dim, dropout)
        self.attention = PixelWordAttention(
            query_dim=visual_dim, memory_dim=text_dim, dim=visual_dim, num_heads=num_heads
        )
        self.output_projection = projection(visual_dim, dropout)

    def forward(self, visual: Tensor, text: TextFeatures) -> Tensor:
        """From V (B, N, C_i) and L to the language-guided visual feature F (B, N, C_i)."""
        return self.output_projection(self.visual_projection(visual) * self.attention(visual, text))


class VGLVA(nn.Module):
    """Vision-guided language-vision alignment, equations 7-11: LGVLA's mirror image.

    R = P_out(P(L) * O), O = WordPixelAttention(L, V).
    """

    def __init__(self, *, visual_dim: int, text_dim: int, num_heads: int, dropout: float):
        """Args: as LGVLA."""
        super().__init__()
        self.text_projection = projection(text_dim, dropout)
        self.attention = WordPixelAttention(
            query_dim=text_dim, memory_dim=visual_dim, dim=text_dim, num_heads=num_heads
        )
        self.output_projection = projection(text_dim, dropout)

    def forward(self, text: TextFeatures, visual: Tensor) -> Tensor:
        """From L and V (B, N, C_i) to the vision-guided language feature R (B, T, C_l)."""
        return self.output_projection(
            self.text_projection(text.tokens) * self.attention(text, visual)
        )


@ALIGNMENT_REGISTRY.register()
class SMGAM(nn.Module):
    """Both directions of alignment at one stage, each fed back through its gate.

    F_i to the decoder; V_i + gate(F_i) * F_i to the next stage; L_{i+1} = L_i + gate(R_i) * R_i
    (equations 6 and 12). What nobody reads is not built.
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
        updates_text: bool,
    ):
        """
        Args:
            visual_dim: C_i.
            text_dim: C_l.
            num_heads: attention heads of both directions.
            dropout: after each projection, in [0, 1).
            updates_visual: whether a next stage reads the visual update.
            updates_text: whether a next stage or the decoder reads the refined text.
        """
        super().__init__()
        sizes = {"visual_dim": visual_dim, "text_dim": text_dim}
        options = {"num_heads": num_heads, "dropout": dropout}
        self.lgvla = LGVLA(**sizes, **options)
        self.visual_gate = LanguageGate(dim=visual_dim) if updates_visual else None
        self.vglva = VGLVA(**sizes, **options) if updates_text else None
        self.text_gate = LanguageGate(dim=text_dim) if updates_text else None

    @classmethod
    def from_config(cls, cfg: CfgNode, spec: AlignmentSpec) -> dict[str, Any]:
        return {
            "visual_dim": spec.visual_dim,
            "text_dim": spec.text_dim,
            "num_heads": cfg.MODEL.ALIGNMENT.NUM_HEADS[spec.stage],
            "dropout": cfg.MODEL.ALIGNMENT.DROPOUT,
            "updates_visual": spec.feeds_next_stage,
            "updates_text": spec.text_is_read,
        }

    def forward(self, visual: Tensor, text: TextFeatures) -> StageOutput:
        """
        Args:
            visual: V_i (B, N_i, C_i), output of the stage's blocks.
            text: L_i.
        """
        fused = self.lgvla(visual, text)
        return StageOutput(
            fused=fused,
            visual_update=None if self.visual_gate is None else self.visual_gate(fused) * fused,
            text=self.refine_text(text, visual),
        )

    def refine_text(self, text: TextFeatures, visual: Tensor) -> TextFeatures:
        """L_i -> L_{i+1}; L_i itself where nobody reads the result."""
        if self.vglva is None or self.text_gate is None:
            return text
        response = self.vglva(text, visual)
        return TextFeatures(text.tokens + self.text_gate(response) * response, text.is_token)
