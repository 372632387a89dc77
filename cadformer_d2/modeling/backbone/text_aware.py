"""The base of all backbones here: each stage ends with an exchange with the text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...layers.mixed_precision import compute_dtype
from ...structures import StageInput, TextFeatures
from ..alignment import AlignmentSpec, build_alignment
from ..decoder import decoder_reads_text
from ..neck import neck_reads_text
from ..position import build_position
from ..presence import presence_reads_text
from .weights import FittedWeights, WeightsRecord, load_backbone_weights

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class TextAwareBackbone(Backbone):
    """The stages of a visual network, each followed by an exchange with the text.

    V_i = stage_i(X_{i-1}); alignment gives F_i, an update of V_i and L_{i+1};
    X_i = down_i(V_i + update). The pyramid is LayerNorm_i(F_i).

    A subclass provides the network: ``embed``, ``run_stage`` and ``leave_stage`` run its parts, and
    ``network_modules`` lists them; the layout of X is its own choice. ``fit_weights`` maps the
    names of published weights. docs/extending.md walks through a small example.
    """

    # Whether StageInput.entry is set, because X_{i-1} has V_i's shape.
    offers_entry: ClassVar[bool] = False
    # Labels of the backbone's modules in tables of what they cost: a pattern of names -> label.
    parts: ClassVar[Mapping[str, str]] = {"alignments": "alignment", "": "backbone"}

    def __init__(
        self,
        *,
        network: Mapping[str, nn.Module],
        shapes: Sequence[ShapeSpec],
        alignments: Sequence[nn.Module],
        position: nn.Module | None = None,
        num_frozen_stages: int = 0,
        freezes_batch_norm: bool = False,
        weights: str = "",
    ):
        """
        Args:
            network: the network's modules, by their names in this module.
            shapes: channels C_i and stride of every stage.
            alignments: one per stage.
            position: maps a map size to its absolute position signal; or None.
            num_frozen_stages: number of first stages that do not train; the stem counts to the
                first.
            freezes_batch_norm: whether to freeze the network's batch norms, statistics included.
            weights: pre-trained, for the network alone: a file, "package:NAME/path", or a Hugging
                Face name; "" starts at random.

        Raises:
            ValueError: more frozen stages than the network has, no batch norm to freeze, or weights
                of another network.
            FileNotFoundError: the weights are not on this machine.
        """
        super().__init__()
        for name, module in network.items():
            self.add_module(name, module)
        self.shapes = tuple(shapes)
        self.alignments = nn.ModuleList(alignments)
        self.norms = nn.ModuleList(nn.LayerNorm(shape.channels) for shape in shapes)
        self.position = position
        if num_frozen_stages > len(shapes):
            raise ValueError(
                f"MODEL.BACKBONE.FROZEN_STAGES is {num_frozen_stages}, but the backbone has "
                f"{len(shapes)} stages"
            )
        self.num_frozen_stages = num_frozen_stages
        self.freezes_batch_norm = freezes_batch_norm
        if freezes_batch_norm and not self._batch_norms():
            raise ValueError(
                "MODEL.BACKBONE.FREEZE_BATCH_NORM is True, but the backbone has no batch norm"
            )
        for module in (*self._frozen_modules(), *self._frozen_batch_norms()):
            module.requires_grad_(False)
        if weights:
            load_backbone_weights(self, weights)

    @classmethod
    def weights_record(cls, cfg: CfgNode) -> WeightsRecord:
        """Pixel statistics of the weights' training; ImageNet's unless they have a record."""
        return WeightsRecord(mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @classmethod
    def shared_arguments(
        cls, cfg: CfgNode, shapes: Sequence[ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        """Build the arguments that do not depend on the network, for ``from_config`` of subclasses.

        Args:
            shapes: channels of every stage.
            text_shape: of the text encoder; ``channels`` are C_l.
        """
        backbone = cfg.MODEL.BACKBONE
        readers = (decoder_reads_text, neck_reads_text, presence_reads_text)
        is_read_at_the_end = any(reads_text(cfg) for reads_text in readers)
        last = len(shapes) - 1
        specs = [
            AlignmentSpec(
                stage=stage,
                visual_dim=shape.channels,
                text_dim=text_shape.channels,
                feeds_next_stage=stage < last,
                text_is_read=stage < last or is_read_at_the_end,
                offers_entry=cls.offers_entry,
            )
            for stage, shape in enumerate(shapes)
        ]
        return {
            "alignments": [build_alignment(cfg, spec) for spec in specs],
            "position": build_position(cfg, dim=shapes[0].channels),
            "num_frozen_stages": backbone.FROZEN_STAGES,
            "freezes_batch_norm": backbone.FREEZE_BATCH_NORM,
            "weights": backbone.WEIGHTS,
        }

    def forward(self, image: Tensor, text: TextFeatures) -> tuple[dict[str, Tensor], TextFeatures]:
        """
        Args:
            image: (B, 3, H, W), normalised. Sides that the network cannot divide are padded with
                zeros on the right and at the bottom.
            text: L_1.

        Returns:
            the pyramid {"stage1": (B, C_1, h_1, w_1), "stage2": ...}, and the text after the last
            stage.
        """
        x = self.embed(image)  # X_0
        pyramid = {}
        for i, (alignment, norm) in enumerate(zip(self.alignments, self.norms, strict=True)):
            stage = self.run_stage(i, x, text)  # with V_i (B, N_i, C_i)
            if i == 0 and self.position is not None:
                stage = self.add_position(stage, self.position)
            aligned = alignment(self.view_stage(i, stage))
            text = aligned.text
            # Round here: neck and decoder move it before their products would round it.
            fused = norm(aligned.fused).to(compute_dtype(stage.visual)).transpose(1, 2)
            pyramid[f"stage{i + 1}"] = fused.unflatten(2, stage.map_size)
            if i + 1 < len(self.alignments):
                x = self.leave_stage(i, stage.visual + aligned.visual_update, stage.map_size)
        return pyramid, text

    def add_position(self, stage: StageInput, position: nn.Module) -> StageInput:
        """Add the absolute position signal to V_1."""
        return replace(stage, visual=stage.visual + position(*stage.map_size))

    def view_stage(self, index: int, stage: StageInput) -> StageInput:
        """What the alignment is given: V_i as it is; ``index`` counts from 0."""
        return stage

    @abstractmethod
    def embed(self, image: Tensor) -> Tensor:
        """From images (B, 3, H, W) to X_0, the input of the first stage."""

    @abstractmethod
    def run_stage(self, stage: int, x: Tensor, text: TextFeatures) -> StageInput:
        """From X_{i-1} to the alignment's input, above all V_i; ``stage`` counts from 0."""

    @abstractmethod
    def leave_stage(self, stage: int, visual: Tensor, map_size: tuple[int, int]) -> Tensor:
        """From V_i + update (B, N_i, C_i) to X_i."""

    @abstractmethod
    def network_modules(self, num_stages: int) -> list[nn.Module]:
        """The network's modules up to the end of a stage, without the alignments."""

    def recomputed_modules(self) -> list[nn.Module]:
        """The network's blocks that MODEL.CHECKPOINT_ACTIVATIONS recomputes."""
        return self.network_modules(len(self.shapes))

    def fit_weights(self, state: Mapping[str, Tensor]) -> FittedWeights | None:
        """Rename published weights of the network to their names in this module.

        Returns:
            None if no name is one that the network's publishers use.

        Raises:
            ValueError: they belong to a network like this one, but of other sizes.
        """
        return None

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"stage{i + 1}": shape for i, shape in enumerate(self.shapes)}

    @property
    def size_divisibility(self) -> int:
        """0: any size is accepted."""
        return 0

    def train(self, mode: bool = True) -> TextAwareBackbone:
        """As nn.Module's; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in (*self._frozen_modules(), *self._frozen_batch_norms()):
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        return self.network_modules(self.num_frozen_stages) if self.num_frozen_stages else []

    def _frozen_batch_norms(self) -> list[nn.Module]:
        return self._batch_norms() if self.freezes_batch_norm else []

    def _batch_norms(self) -> list[nn.Module]:
        return [
            module
            for part in self.network_modules(len(self.shapes))
            for module in part.modules()
            if isinstance(module, _BatchNorm)
        ]


def round_up_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Round (height, width) up to multiples of a stride."""
    height, width = (-(-side // stride) * stride for side in size)
    return height, width


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Pad images (B, 3, H, W) with zeros at right and bottom to multiples of a stride.

    Then the maps of all stages cover the image cell by cell, however a network rounds.
    """
    height, width = round_up_size((image.shape[-2], image.shape[-1]), stride)
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))
