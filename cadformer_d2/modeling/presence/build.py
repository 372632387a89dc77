"""Build the presence component, which says whether an expression has a target at all."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from ..registry import get_component_class

PRESENCE_REGISTRY = Registry("PRESENCE")
PRESENCE_REGISTRY.__doc__ = """
Subclasses of ``Presence``, called as ``cls(cfg, input_shape, text_shape)`` with the backbone's
shapes by name and the text encoder's, whose ``channels`` are C_l. ``forward(pyramid, text,
logits)`` takes the maps that the decoder read, the text that left the backbone and the decoder's
logits (B, 2, s * h_1, s * w_1), and returns float32 logits (B,) of "the expression has a target
here". A class attribute ``reads_text`` says whether text is used.
"""


class Presence(nn.Module):
    """One logit a sample, trained beside the mask by binary cross-entropy."""

    reads_text: ClassVar[bool]

    def __init__(self, *, loss_weight: float):
        """
        Args:
            loss_weight: of the binary cross-entropy in the training loss.
        """
        super().__init__()
        self.loss_weight = loss_weight

    def losses(self, presence: Tensor, is_present: Tensor) -> dict[str, Tensor]:
        """
        Args:
            presence: logits (B,), as ``forward`` returns them.
            is_present: (B,) bool, True where the target's mask is not empty.

        Returns:
            {"loss_presence"}, already weighted; {} of a component with nothing to train.
        """
        truth = is_present.to(presence.dtype)
        cross_entropy = F.binary_cross_entropy_with_logits(presence, truth)
        return {"loss_presence": self.loss_weight * cross_entropy}


def presence_reads_text(cfg: CfgNode) -> bool:
    """Whether the configured presence component uses the text that leaves the backbone."""
    name = cfg.MODEL.PRESENCE.NAME
    return bool(name) and _presence_class(name).reads_text


def build_presence(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
) -> Presence | None:
    """The presence component named by MODEL.PRESENCE.NAME; None for "", as in the papers."""
    name = cfg.MODEL.PRESENCE.NAME
    return _presence_class(name)(cfg, input_shape, text_shape) if name else None


def _presence_class(name: str) -> Any:
    return get_component_class(PRESENCE_REGISTRY, name, key="MODEL.PRESENCE.NAME")
