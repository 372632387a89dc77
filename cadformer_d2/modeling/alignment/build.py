"""Building the alignment of one backbone stage."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from ..registry import component_class

ALIGNMENT_REGISTRY = Registry("ALIGNMENT")
ALIGNMENT_REGISTRY.__doc__ = """
Called as ``cls(cfg, spec)`` with an AlignmentSpec, once per backbone stage;
``forward(visual, text)`` of (B, N_i, C_i) and TextFeatures returns a StageOutput.
"""


@dataclass(frozen=True)
class AlignmentSpec:
    """What a stage offers its alignment and what it needs back."""

    stage: int  # from 0
    visual_dim: int  # C_i
    text_dim: int  # C_l
    feeds_next_stage: bool  # False at the last stage: a visual update would reach nothing
    text_is_read: bool  # False where nobody reads a refined text any more


def build_alignment(cfg: CfgNode, spec: AlignmentSpec) -> nn.Module:
    """The alignment named by MODEL.ALIGNMENT.NAME for one stage."""
    name = cfg.MODEL.ALIGNMENT.NAME
    return component_class(ALIGNMENT_REGISTRY, name, key="MODEL.ALIGNMENT.NAME")(cfg, spec)
