"""Decoders: from the pyramid and the text to logits."""

from .build import build_decoder, decoder_reads_text
from .lgce import LGCEDecoder
from .tcmd import TCMD
from .tcmd_as_released import TCMDAsReleased
from .top_down import OAD, SimpleDecoding

__all__ = [
    "OAD",
    "TCMD",
    "LGCEDecoder",
    "SimpleDecoding",
    "TCMDAsReleased",
    "build_decoder",
    "decoder_reads_text",
]
