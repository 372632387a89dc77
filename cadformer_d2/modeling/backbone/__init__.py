"""The visual encoder that the text flows through."""

from .text_aware_swin import TextAwareSwin

__all__ = ["TextAwareSwin"]
