"""The plain alternative: a target is there if its mask is large enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor

from ...structures import TextFeatures
from .build import PRESENCE_REGISTRY, Presence


@PRESENCE_REGISTRY.register()
class MaskArea(Presence):
    """p = a / (a + a_0), where a is the share of positions at which the target is likelier.

    Nothing to train: p reaches 0.5 where the mask has the share a_0 of the image. It serves models
    that were trained without a presence component as well.
    """

    reads_text = False
    parts: ClassVar[Mapping[str, str]] = {"": "presence"}

    @configurable
    def __init__(self, *, min_area: float):
        """
        Args:
            min_area: a_0, a share of the image above 0.
        """
        super().__init__(loss_weight=0.0)
        self.min_area = min_area

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        return {"min_area": cfg.MODEL.PRESENCE.MIN_AREA}

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures, logits: Tensor) -> Tensor:
        """As PRESENCE_REGISTRY says; -inf where the mask is empty."""
        is_target = logits[:, 1] > logits[:, 0]  # (B, s * h_1, s * w_1)
        area = is_target.float().mean((1, 2))
        return (area / self.min_area).log()

    def losses(self, presence: Tensor, is_present: Tensor) -> dict[str, Tensor]:
        return {}
