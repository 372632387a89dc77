"""SMGAM with the defects of the authors' released code, to reproduce its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from ...layers.attention import CrossAttention, normalize_over_positions
from ...structures import StageInput, StageOutput, TextFeatures
from .build import ALIGNMENT_REGISTRY, AlignmentSpec
from .pwam import PWAM
from .smgam import SMGAM

ADDED_TO_PADDING = -10000.0  # by an additive mask, where one is used as such


class WordPixelAttentionAsReleased(CrossAttention):
    """WordPixelAttention with two defects; both break the law that padding changes nothing.

    - The additive mask (0 on real tokens, -10000 on padding) is multiplied into the queries. A real
      token has a zero query, attends evenly, and receives the mean of a normalised value: zero.
    - The norm after W_o runs over the tokens, so that all real tokens get one and the same vector,
      into which the image leaks through the padding. Without padding it is zero.
    """

    def forward(self, text: TextFeatures, visual: Tensor) -> Tensor:
        """
        Args:
            text: L (B, T, C_l), padded to INPUT.MAX_TOKENS as in the release.
            visual: (B, N, C).

        Returns:
            (B, T, dim).
        """
        query = self.query(text.tokens)
        query = query * (~text.is_token * ADDED_TO_PADDING)[..., None].to(query.dtype)
        key = normalize_over_positions(self.key(visual))
        value = normalize_over_positions(self.value(visual))
        attended = self.attend(query, key, value, is_key=None)
        return normalize_over_positions(self.output(attended))


@ALIGNMENT_REGISTRY.register()
class SMGAMAsReleased(SMGAM):
    """The released SMGAM: VGLVA reads the stage's input, through the attention above.

    Use it with INPUT.PAD_TO_MAX_TOKENS; docs/released_code.md says what else the release does.
    """

    word_attention = WordPixelAttentionAsReleased

    @classmethod
    def from_config(cls, cfg: CfgNode, spec: AlignmentSpec) -> dict[str, Any]:
        """
        Raises:
            ValueError: the backbone does not offer the input of its stages' blocks.
        """
        if not spec.offers_entry:
            raise ValueError(
                "MODEL.ALIGNMENT.NAME SMGAMAsReleased reads the input of a stage's blocks at the "
                f"stage's own size, which MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} does not "
                "offer; use TextAwareSwin, or the alignment SMGAM"
            )
        return super().from_config(cfg, spec)

    def forward(self, stage: StageInput) -> StageOutput:
        assert stage.entry is not None, "from_config requires offers_entry"
        aligned = PWAM.forward(self, stage)
        return replace(aligned, text=self.refine_text(stage.text, stage.entry))
