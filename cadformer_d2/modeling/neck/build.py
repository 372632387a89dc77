"""Build the neck, the optional exchange between scales before the decoder."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from ..registry import get_component_class

NECK_REGISTRY = Registry("NECK")
NECK_REGISTRY.__doc__ = """
Called as ``cls(cfg, input_shape, text_shape)`` with the backbone's shapes by name and the text
encoder's, whose ``channels`` are C_l; ``forward(pyramid, text)`` returns maps of the same names and
shapes. A class attribute ``reads_text`` says whether text is used.
"""


def neck_reads_text(cfg: CfgNode) -> bool:
    """Whether the configured neck uses the text that leaves the backbone."""
    name = cfg.MODEL.NECK.NAME
    return bool(name) and get_component_class(NECK_REGISTRY, name, key="MODEL.NECK.NAME").reads_text


def build_neck(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
) -> nn.Module | None:
    """The neck named by MODEL.NECK.NAME; None for "" (the paper's model has none)."""
    name = cfg.MODEL.NECK.NAME
    if not name:
        return None
    return get_component_class(NECK_REGISTRY, name, key="MODEL.NECK.NAME")(
        cfg, input_shape, text_shape
    )
