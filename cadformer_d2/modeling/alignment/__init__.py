"""How a backbone stage and the sentence inform each other."""

from .build import AlignmentSpec, build_alignment
from .smgam import SMGAM

__all__ = ["SMGAM", "AlignmentSpec", "build_alignment"]
