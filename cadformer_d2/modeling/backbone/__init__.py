"""The visual encoder that the text flows through."""

from .build import build_backbone, with_weights_record
from .text_aware import TextAwareBackbone
from .text_aware_swin import TextAwareSwin
from .text_aware_timm import TextAwareTimm

__all__ = [
    "TextAwareBackbone",
    "TextAwareSwin",
    "TextAwareTimm",
    "build_backbone",
    "with_weights_record",
]
