"""The model and its components. Importing this package registers them under their names."""

from .backbone import TextAwareSwin
from .meta_arch import CADFormer
from .text_encoder import BertTextEncoder

__all__ = ["BertTextEncoder", "CADFormer", "TextAwareSwin"]
