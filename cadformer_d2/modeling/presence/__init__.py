"""Presence: whether an image has what the expression refers to."""

from .build import PRESENCE_REGISTRY, Presence, build_presence, presence_reads_text
from .mask_area import MaskArea
from .pooled import PooledPresence

__all__ = [
    "PRESENCE_REGISTRY",
    "MaskArea",
    "PooledPresence",
    "Presence",
    "build_presence",
    "presence_reads_text",
]
