"""Build the alignment of one backbone stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from ...structures import StageInput, StageOutput
from ..registry import get_component_class

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
    feeds_next_stage: bool  # False at the last stage, where a visual update has no reader
    text_is_read: bool  # False where nothing reads the refined text
    offers_entry: bool = True  # whether StageInput.entry is set


class Alignment(nn.Module, ABC):
    """What the alignments have in common: how they are called."""

    # Whether TextFeatures.object_words and position_words are used (FIANet). Only then is the
    # expression encoded with them alone as well, three times in all.
    reads_roles: ClassVar[bool] = False

    @abstractmethod
    def forward(self, stage: StageInput) -> StageOutput:
        """F_i for the decoder, the update of V_i, and L_{i+1}."""


def alignment_reads_roles(cfg: CfgNode) -> bool:
    """Whether the configured alignment uses the words for the object and for the place alone."""
    return _configured_class(cfg).reads_roles


def build_alignment(cfg: CfgNode, spec: AlignmentSpec) -> nn.Module:
    """The alignment named by MODEL.ALIGNMENT.NAME for one stage."""
    return _configured_class(cfg)(cfg, spec)


def _configured_class(cfg: CfgNode) -> Any:
    name = cfg.MODEL.ALIGNMENT.NAME
    return get_component_class(ALIGNMENT_REGISTRY, name, key="MODEL.ALIGNMENT.NAME")
