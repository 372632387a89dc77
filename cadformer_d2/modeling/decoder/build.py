"""Build the decoder."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from ..registry import get_component_class

DECODER_REGISTRY = Registry("DECODER")
DECODER_REGISTRY.__doc__ = """
Called as ``cls(cfg, input_shape, text_shape)`` with the backbone's shapes by name and the text
encoder's, whose ``channels`` are C_l. ``forward(pyramid, text)`` returns logits (B, 2, h_1, w_1),
or of a whole multiple of that size. A class attribute ``reads_text`` says whether text is used.
"""


def decoder_reads_text(cfg: CfgNode) -> bool:
    """Whether the configured decoder uses the text that leaves the backbone."""
    name = cfg.MODEL.DECODER.NAME
    return get_component_class(DECODER_REGISTRY, name, key="MODEL.DECODER.NAME").reads_text


def build_decoder(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
) -> nn.Module:
    """The decoder named by MODEL.DECODER.NAME."""
    name = cfg.MODEL.DECODER.NAME
    decoder = get_component_class(DECODER_REGISTRY, name, key="MODEL.DECODER.NAME")
    return decoder(cfg, input_shape, text_shape)
