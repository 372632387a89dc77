"""Alignments: how a backbone stage and the expression inform each other."""

from .build import Alignment, AlignmentSpec, alignment_reads_roles, build_alignment
from .fiam import FIAM
from .iim import IIM
from .pwam import PWAM
from .smgam import SMGAM
from .smgam_as_released import SMGAMAsReleased

__all__ = [
    "FIAM",
    "IIM",
    "PWAM",
    "SMGAM",
    "SMGAMAsReleased",
    "Alignment",
    "AlignmentSpec",
    "alignment_reads_roles",
    "build_alignment",
]
