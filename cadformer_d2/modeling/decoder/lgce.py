"""LGCE's decoder as one component, for comparing decoders with the rest kept."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor

from ...structures import TextFeatures
from ..neck.lgce import LGCE
from .build import DECODER_REGISTRY
from .top_down import SimpleDecoding


@DECODER_REGISTRY.register()
class LGCEDecoder(SimpleDecoding):
    """LGCE's neck (arXiv 2306.08625) followed by the plain head."""

    reads_text = True

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        hidden_dim: int,
        text_dim: int,
        subpixels: int = 1,
    ):
        """
        Args:
            input_shape, hidden_dim, subpixels: as TopDownDecoder.
            text_dim: C_l.
        """
        super().__init__(input_shape=input_shape, hidden_dim=hidden_dim, subpixels=subpixels)
        self.enhancement = LGCE(input_shape=input_shape, text_dim=text_dim)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        """
        Raises:
            ValueError: the enhancement that this decoder starts with is the neck as well.
        """
        if cfg.MODEL.NECK.NAME == "LGCE":
            raise ValueError(
                "MODEL.DECODER.NAME LGCEDecoder already holds MODEL.NECK.NAME LGCE; set the neck "
                'to "", or take the decoder SimpleDecoding'
            )
        shared = super().from_config(cfg, input_shape, text_shape)
        return {**shared, "text_dim": text_shape.channels}

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> Tensor:
        """As TopDownDecoder."""
        return super().forward(self.enhancement(pyramid, text), text)
