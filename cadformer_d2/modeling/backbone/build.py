"""Building the backbone."""

from __future__ import annotations

import inspect
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from ..registry import component_class
from .text_aware import TextAwareBackbone


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
    arguments = (cfg, ShapeSpec(channels=3), text_shape)
    if not _accepts(backbone, arguments):
        raise ValueError(
            f"MODEL.BACKBONE.NAME is {name!r}, which reads no text: a backbone is called here with "
            "(cfg, input_shape, text_shape), and its forward with (image, text); "
            "docs/extending.md shows one"
        )
    return backbone(*arguments)


def pixel_statistics(cfg: CfgNode) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels in [0, 255], per channel in INPUT.FORMAT's order.

    MODEL.PIXEL_MEAN and MODEL.PIXEL_STD, or, where they are empty, what the backbone's weights were
    trained with.
    """
    mean, std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    if mean and std:
        return mean, std
    name = cfg.MODEL.BACKBONE.NAME
    backbone = component_class(BACKBONE_REGISTRY, name, key="MODEL.BACKBONE.NAME")
    # Detectron2's own and functions have no record; what they are built for is said elsewhere.
    source = backbone if hasattr(backbone, "pixel_statistics") else TextAwareBackbone
    recorded_mean, recorded_std = source.pixel_statistics(cfg)
    if cfg.INPUT.FORMAT == "BGR":
        recorded_mean, recorded_std = recorded_mean[::-1], recorded_std[::-1]
    return mean or recorded_mean, std or recorded_std


def with_pixel_statistics(cfg: CfgNode) -> CfgNode:
    """The config with numbers where MODEL.PIXEL_MEAN and MODEL.PIXEL_STD were empty."""
    resolved = cfg.clone()
    resolved.defrost()
    resolved.MODEL.PIXEL_MEAN, resolved.MODEL.PIXEL_STD = pixel_statistics(cfg)
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
