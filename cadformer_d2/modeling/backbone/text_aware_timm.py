"""Any timm network with feature levels; each level ends with an exchange with the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn

from ...checkpoint_file import abbreviate
from ...structures import StageInput, TextFeatures
from ..position import build_position
from .efficientnet_lite import is_efficientnet_lite_release, rename_efficientnet_lite
from .stage_view import StageView
from .text_aware import TextAwareBackbone, pad_to_multiple
from .timm_network import TimmNetwork, apply_timm_filter, build_timm_network, pretrained_record
from .weights import FittedWeights, WeightsRecord, read_hub_record

COUNTER = ".num_batches_tracked"  # of batch norms; older files lack it, and nothing here reads it


@BACKBONE_REGISTRY.register()
class TextAwareTimm(TextAwareBackbone):
    """A network of timm whose levels exchange with the text before the next begins.

    V_i = level_i(X_{i-1}); the alignment is given a view of it (``StageView``); X_i = V_i + update,
    from which the network goes on. Its downsampling is the beginning of the next level. X is in the
    network's own layout.
    """

    parts: ClassVar[Mapping[str, str]] = {
        "stages": "timm network",
        "alignments": "alignment",
        "": "norms and position",
    }
    stages: nn.ModuleList
    views: nn.ModuleList

    @configurable
    def __init__(self, *, network: TimmNetwork, views: Sequence[nn.Module], **shared: Any):
        """
        Args:
            network: its stages become this module's.
            views: what each stage's alignment is given of it, see StageView; none: V_i itself.
            shared: the other arguments of TextAwareBackbone.
        """
        self.network = network
        modules = {"stages": network.stages, "views": nn.ModuleList(views)}
        super().__init__(network=modules, shapes=network.shapes, **shared)

    @classmethod
    def from_config(cls, cfg: CfgNode, _: ShapeSpec, text_shape: ShapeSpec) -> dict[str, Any]:
        network = build_timm_network(
            name=cfg.MODEL.TIMM.NAME,
            strides=cfg.MODEL.TIMM.STRIDES,
            input_size=cfg.INPUT.SIZE,
            drop_path_rate=cfg.MODEL.TIMM.DROP_PATH_RATE,
        )
        shared = cls.shared_arguments(cfg, network.shapes, text_shape)
        if not cfg.MODEL.TIMM.STAGE_VIEWS:
            return {**shared, "network": network, "views": []}
        dims = [shape.channels for shape in network.shapes]
        return {
            **shared,
            "network": network,
            "views": [StageView(dim=dim, position=build_position(cfg, dim=dim)) for dim in dims],
            "position": None,  # each view has its own; the network sees none
        }

    @classmethod
    def weights_record(cls, cfg: CfgNode) -> WeightsRecord:
        """The record beside the cached weights, or else timm's record of the network."""
        record = {
            **pretrained_record(cfg.MODEL.TIMM.NAME),
            **read_hub_record(cfg.MODEL.BACKBONE.WEIGHTS),
        }
        mean, std = (tuple(255 * value for value in record[key]) for key in ("mean", "std"))
        height, width = record["input_size"][1:]
        return WeightsRecord(mean=mean, std=std, input_size=(height, width))

    def embed(self, image: Tensor) -> Tensor:
        """X_0 is the image, padded to whole cells of the last stage.

        Raises:
            ValueError: the network is built for another size.
        """
        padded = pad_to_multiple(image, self.shapes[-1].stride)
        if self.network.fixed_size not in (None, tuple(padded.shape[-2:])):
            raise ValueError(
                f"the image is {tuple(image.shape[-2:])}, but {self.network.name} was built for "
                f"{self.network.fixed_size} and accepts no other size; set INPUT.SIZE to it"
            )
        # Channels last in memory, as the levels will be: a third less time for a CPU's depthwise
        # convolutions, and positions with all their channels cost no copy.
        return padded.contiguous(memory_format=torch.channels_last)

    def run_stage(self, stage: int, x: Tensor, text: TextFeatures) -> StageInput:
        x = self.stages[stage](x)
        # Contiguous, so that a linear map is one product over all samples and positions. No copy
        # where the network keeps channels last in memory.
        map_ = x if self.network.is_channels_last else x.permute(0, 2, 3, 1).contiguous()
        height, width = map_.shape[1:3]
        return StageInput(map_.flatten(1, 2), text, (height, width))

    def view_stage(self, index: int, stage: StageInput) -> StageInput:
        if not self.views:
            return stage
        return replace(stage, visual=self.views[index](stage.visual, stage.map_size))

    def leave_stage(self, stage: int, visual: Tensor, map_size: tuple[int, int]) -> Tensor:
        map_ = visual.unflatten(1, map_size)
        return map_ if self.network.is_channels_last else map_.permute(0, 3, 1, 2)

    def network_modules(self, num_stages: int) -> list[nn.Module]:
        return list(self.stages[:num_stages])

    def recomputed_modules(self) -> list[nn.Module]:
        return [
            block
            for stage in self.stages
            for module in stage.children()
            for block in _blocks(module)
        ]

    def fit_weights(self, state: Mapping[str, Tensor]) -> FittedWeights | None:
        """Rename weights published by timm, by the networks' authors, or by EfficientNet-Lite."""
        published, whole = apply_timm_filter(self.network, state)
        if is_efficientnet_lite_release(state):
            published = rename_efficientnet_lite(state, whole)
        names = {theirs: f"stages.{ours}" for ours, theirs in self.network.published.items()}
        fitted = {names[name]: value for name, value in published.items() if name in names}
        if not fitted:
            return None
        lacking = sorted(
            name for name in names if name not in published and not name.endswith(COUNTER)
        )
        foreign = sorted(name for name in published if name not in whole)
        if lacking or foreign:
            raise ValueError(
                f"they are not weights of {self.network.name}: {len(lacking)} of its tensors are "
                f"missing ({abbreviate(lacking)}) and {len(foreign)} have no place "
                f"({abbreviate(foreign)})"
            )
        not_used = tuple(name for name in published if name not in names)
        return FittedWeights(fitted, not_used=not_used)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The parts of a module to recompute one by one."""
    blocks = getattr(module, "blocks", module)
    parts = list(blocks) if isinstance(blocks, (nn.Sequential, nn.ModuleList)) else [module]
    # An in-place activation would receive its own result the second time.
    return [part for part in parts if not getattr(part, "inplace", False)]
