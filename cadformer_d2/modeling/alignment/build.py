"""Building the alignment of one backbone stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from ...structures import StageInput, StageOutput
from ..registry import component_class

ALIGNMENT_REGISTRY = Registry("ALIGNMENT")
ALIGNMENT_REGISTRY.__doc__ = """
Called as ``cls(cfg, spec)`` with an AlignmentSpec, once per backbone stage;
``forward`` takes a StageInput and returns a StageOutput. A subclass of Alignment.
"""


@dataclass(frozen=True)
class AlignmentSpec:
    """What a stage offers its alignment and what it needs back."""

    stage: int  # from 0
    visual_dim: int  # C_i
    text_dim: int  # C_l
    feeds_next_stage: bool  # False at the last stage: a visual update would reach nothing
    text_is_read: bool  # False where nobody reads a refined text any more
    offers_entry: bool = True  # whether StageInput.entry is there


class Alignment(nn.Module, ABC):
    """What the alignments have in common: how they are called."""

    # Whether TextFeatures.object_words and position_words are used (FIANet). Only then are words
    # told apart, and the expression is encoded three times instead of once.
    reads_roles: ClassVar[bool] = False

    @abstractmethod
    def forward(self, stage: StageInput) -> StageOutput:
        """F_i for the decoder, the update of V_i, and L_{i+1}."""


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
