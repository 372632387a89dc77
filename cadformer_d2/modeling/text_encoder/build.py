"""Build the text encoder; query its sizes before it is built."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from ..registry import get_component_class

TEXT_ENCODER_REGISTRY = Registry("TEXT_ENCODER")
TEXT_ENCODER_REGISTRY.__doc__ = """
Called as ``cls(cfg)``; an attribute ``reads`` names the fields of the samples that ``forward``
is given, padded with zeros to (B, T); it returns TextFeatures. A class method
``output_shape(cfg)`` says, before the encoder is built, how many ``channels`` they have: every
component that reads text is handed it. Where there is a class method ``vocabulary_size(cfg)``,
token ids are below what it returns, and a tokenizer with more of them is refused.
"""


def build_text_encoder(cfg: CfgNode) -> nn.Module:
    """The text encoder named by MODEL.TEXT_ENCODER.NAME."""
    return _configured_class(cfg)(cfg)


def text_output_shape(cfg: CfgNode) -> ShapeSpec:
    """Channels C_l of the configured text encoder's output.

    The class answers, not an instance: the backbone draws its random weights before the text
    encoder is built, and another order would change the result of every seed.
    """
    return _configured_class(cfg).output_shape(cfg)


def text_vocabulary_size(cfg: CfgNode) -> int | None:
    """Number of token ids that the configured text encoder accepts; None if it does not say."""
    encoder = _configured_class(cfg)
    return encoder.vocabulary_size(cfg) if hasattr(encoder, "vocabulary_size") else None


def _configured_class(cfg: CfgNode) -> Any:
    name = cfg.MODEL.TEXT_ENCODER.NAME
    return get_component_class(TEXT_ENCODER_REGISTRY, name, key="MODEL.TEXT_ENCODER.NAME")
