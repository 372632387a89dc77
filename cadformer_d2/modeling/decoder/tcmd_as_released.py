"""TCMD with the defect of the authors' released code, to reproduce its numbers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...structures import TextFeatures
from .build import DECODER_REGISTRY
from .tcmd import TCMD


@DECODER_REGISTRY.register()
class TCMDAsReleased(TCMD):
    """TCMD whose Transformer layers treat padding as words, so that its length changes the result.

    Use it with INPUT.PAD_TO_MAX_TOKENS, which fixes that length.
    """

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> Tensor:
        """Args: as TCMD."""
        return super().forward(pyramid, replace(text, is_token=torch.ones_like(text.is_token)))
