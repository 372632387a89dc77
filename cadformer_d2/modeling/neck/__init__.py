"""Exchange between scales, in front of the decoder."""

from .build import build_neck, neck_reads_text

__all__ = ["build_neck", "neck_reads_text"]
