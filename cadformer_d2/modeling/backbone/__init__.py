"""The visual encoder that the text flows through."""

from .build import build_backbone
from .text_aware_swin import TextAwareSwin

__all__ = ["TextAwareSwin", "build_backbone"]
