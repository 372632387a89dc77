"""Building the backbone."""

from __future__ import annotations

import inspect
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from ..registry import component_class


def build_backbone(cfg: CfgNode, text_shape: ShapeSpec) -> Backbone:
    """The backbone named by MODEL.BACKBONE.NAME, called as ``cls(cfg, input_shape, text_shape)``.

    Detectron2 calls a backbone without the text's shape, so its own do not fit here.

    Args:
        text_shape: of the text encoder; ``channels`` are C_l.

    Raises:
        ValueError: an unknown name, or a backbone that does not take a text's shape.
    """
    name = cfg.MODEL.BACKBONE.NAME
    backbone = component_class(BACKBONE_REGISTRY, name, key="MODEL.BACKBONE.NAME")
    arguments = (cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)), text_shape)
    if not _accepts(backbone, arguments):
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {name!r}, which reads no text: a backbone is called here with "
            "(cfg, input_shape, text_shape), and its forward with (image, text); "
            "docs/extending.md shows one"
        )
    return backbone(*arguments)


def _accepts(backbone: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a class, by its from_config where it has one, or a function takes the arguments."""
    called = getattr(backbone, "from_config", backbone)
    try:
        inspect.signature(called).bind(*arguments)
    except TypeError:
        return False
    return True
