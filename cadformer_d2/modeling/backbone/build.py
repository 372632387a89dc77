"""Build the backbone."""

from __future__ import annotations

import inspect
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from ..registry import get_component_class
from .text_aware import TextAwareBackbone


def build_backbone(cfg: CfgNode, text_shape: ShapeSpec) -> Backbone:
    """The backbone named by MODEL.BACKBONE.NAME, called as ``cls(cfg, input_shape, text_shape)``.

    Detectron2 calls its own backbones without the text's shape, so they do not fit here.

    Args:
        text_shape: of the text encoder; ``channels`` are C_l.

    Raises:
        ValueError: an unknown name, or a backbone that does not accept a text's shape.
    """
    name = cfg.MODEL.BACKBONE.NAME
    backbone = get_component_class(BACKBONE_REGISTRY, name, key="MODEL.BACKBONE.NAME")
    arguments = (cfg, ShapeSpec(channels=3), text_shape)
    if not _accepts(backbone, arguments):
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {name!r}, which reads no text: a backbone here takes "
            "(cfg, input_shape, text_shape), and its forward (image, text); "
            "docs/extending.md shows one"
        )
    return backbone(*arguments)


def with_weights_record(cfg: CfgNode) -> CfgNode:
    """Fill open keys of the config from the record of the backbone's weights.

    Those are INPUT.SIZE (), MODEL.PIXEL_MEAN [] and MODEL.PIXEL_STD [].

    Raises:
        ValueError: the weights have no record of their input size.
    """
    open_keys = (cfg.INPUT.SIZE, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    if all(map(len, open_keys)):
        return cfg
    name = cfg.MODEL.BACKBONE.NAME
    backbone = get_component_class(BACKBONE_REGISTRY, name, key="MODEL.BACKBONE.NAME")
    # Functions and Detectron2's own backbones have no record.
    source = backbone if hasattr(backbone, "weights_record") else TextAwareBackbone
    record = source.weights_record(cfg)
    if not cfg.INPUT.SIZE and record.input_size is None:
        raise ValueError(
            f"INPUT.SIZE is (), but MODEL.BACKBONE.NAME {name} has no record of the input size of "
            "its weights; set it to (height, width)"
        )
    order = slice(None, None, -1 if cfg.INPUT.FORMAT == "BGR" else 1)
    resolved = cfg.clone()
    resolved.defrost()
    resolved.INPUT.SIZE = cfg.INPUT.SIZE or record.input_size
    resolved.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_MEAN or list(record.mean[order])
    resolved.MODEL.PIXEL_STD = cfg.MODEL.PIXEL_STD or list(record.std[order])
    if cfg.is_frozen():
        resolved.freeze()
    return resolved


def _accepts(backbone: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether a class, by its from_config where it has one, or a function takes the arguments."""
    called = getattr(backbone, "from_config", backbone)
    try:
        inspect.signature(called).bind(*arguments)
    except TypeError:
        return False
    return True
