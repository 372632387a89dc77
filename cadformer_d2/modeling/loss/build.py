"""Build the training loss."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from ..registry import get_component_class

LOSS_REGISTRY = Registry("LOSS")
LOSS_REGISTRY.__doc__ = """
Called as ``cls(cfg)``; ``forward(logits, target)`` takes logits (B, 2, H, W) of background and
target in any float dtype and the target's mask (B, H, W) bool, and returns float32 scalars by name,
already weighted; training minimises their sum. Names begin with "loss", as Detectron2's writers
expect.
"""


def build_loss(cfg: CfgNode) -> nn.Module:
    """The loss named by MODEL.LOSS.NAME."""
    return get_component_class(LOSS_REGISTRY, cfg.MODEL.LOSS.NAME, key="MODEL.LOSS.NAME")(cfg)
