"""From the pyramid and the sentence to logits."""

from .build import build_decoder, decoder_reads_text
from .tcmd import TCMD

__all__ = ["TCMD", "build_decoder", "decoder_reads_text"]
