"""SMGAM, the paper's semantic mutual guidance alignment module: LGVLA and VGLVA side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from ...layers.attention import CrossAttention, WordPixelAttention
from ...layers.gate import LanguageGate
from ...structures import StageInput, StageOutput, TextFeatures
from .build import ALIGNMENT_REGISTRY, AlignmentSpec
from .pwam import PWAM, build_projection


class VGLVA(nn.Module):
    """Vision-guided language-vision alignment, equations 7-11: LGVLA's mirror image.

    R = P_out(P(L) * O), O = WordPixelAttention(L, V).
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        text_dim: int,
        num_heads: int,
        dropout: float,
        attention: type[CrossAttention],
    ):
        """
        Args:
            visual_dim: C_i, channels of this stage.
            text_dim: C_l, channels of the text.
            num_heads: attention heads.
            dropout: after each projection, in [0, 1).
            attention: from words to positions, called with L and V.
        """
        super().__init__()
        self.text_projection = build_projection(text_dim, dropout)
        self.attention = attention(
            query_dim=text_dim, memory_dim=visual_dim, dim=text_dim, num_heads=num_heads
        )
        self.output_projection = build_projection(text_dim, dropout)

    def forward(self, text: TextFeatures, visual: Tensor) -> Tensor:
        """From L and V (B, N, C_i) to the vision-guided language feature R (B, T, C_l)."""
        return self.output_projection(
            self.text_projection(text.tokens) * self.attention(text, visual)
        )


@ALIGNMENT_REGISTRY.register()
class SMGAM(PWAM):
    """PWAM (here LGVLA) and, beside it, VGLVA, which refines the text.

    L_{i+1} = L_i + gate(R_i) * R_i (equation 12). What nobody reads is not built.
    """

    word_attention: type[CrossAttention] = WordPixelAttention

    @configurable
    def __init__(
        self,
        *,
        text_dim: int,
        updates_visual: bool,
        updates_text: bool,
        decoder_feature: str,
        **lgvla: Any,
    ):
        """
        Args:
            text_dim, updates_visual, decoder_feature and the rest: as PWAM.
            updates_text: whether a next stage or the decoder reads the refined text.
        """
        super().__init__(
            text_dim=text_dim,
            updates_visual=updates_visual,
            decoder_feature=decoder_feature,
            **lgvla,
        )
        self.vglva, self.text_gate = None, None
        if updates_text:
            self.vglva = VGLVA(text_dim=text_dim, attention=self.word_attention, **lgvla)
            self.text_gate = LanguageGate(dim=text_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode, spec: AlignmentSpec) -> dict[str, Any]:
        return {**super().from_config(cfg, spec), "updates_text": spec.text_is_read}

    def forward(self, stage: StageInput) -> StageOutput:
        aligned = super().forward(stage)
        return replace(aligned, text=self.refine_text(stage.text, stage.visual))

    def refine_text(self, text: TextFeatures, visual: Tensor) -> TextFeatures:
        """L_i -> L_{i+1}; L_i itself where nobody reads the result."""
        if self.vglva is None or self.text_gate is None:
            return text
        response = self.vglva(text, visual)
        return replace(text, tokens=text.tokens + self.text_gate(response) * response)
