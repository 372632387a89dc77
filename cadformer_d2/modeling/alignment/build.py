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
``forward(visual, text, map_size)`` of (B, N_i, C_i), TextFeatures and (h_i, w_i) returns a
StageOutput. Class attributes: ``reads_roles`` says whether the words' roles are used, and
``reads_stage_input`` whether ``forward`` takes, by that name, what the stage's blocks were given.
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
    """The alignment named by MODEL.ALIGNMENT.NAME for one stage.

    Raises:
        ValueError: an unknown name, or INPUT.TOKEN_ROLES is not what the alignment needs.
    """
    name = cfg.MODEL.ALIGNMENT.NAME
    alignment = component_class(ALIGNMENT_REGISTRY, name, key="MODEL.ALIGNMENT.NAME")
    if alignment.reads_roles != cfg.INPUT.TOKEN_ROLES:
        need = "needs" if alignment.reads_roles else "does not read"
        raise ValueError(
            f"MODEL.ALIGNMENT.NAME {name} {need} the roles of words, and INPUT.TOKEN_ROLES is "
            f"{cfg.INPUT.TOKEN_ROLES}; set it to {alignment.reads_roles}"
        )
    return alignment(cfg, spec)
