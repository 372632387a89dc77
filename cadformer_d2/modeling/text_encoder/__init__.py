"""From the tokens of an expression to L_1."""

from .bert import BertTextEncoder
from .build import (
    TEXT_ENCODER_REGISTRY,
    build_text_encoder,
    text_output_shape,
    text_vocabulary_size,
)
from .hugging_face import HuggingFaceTextEncoder

__all__ = [
    "TEXT_ENCODER_REGISTRY",
    "BertTextEncoder",
    "HuggingFaceTextEncoder",
    "build_text_encoder",
    "text_output_shape",
    "text_vocabulary_size",
]
