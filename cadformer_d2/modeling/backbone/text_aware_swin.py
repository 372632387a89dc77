"""Swin Transformer that exchanges with the text at every stage, built from Detectron2's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.swin import PatchEmbed, PatchMerging
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ...layers.initialization import initialize_linear
from ...structures import StageInput, TextFeatures
from .swin_release import fit_swin_release, is_swin_release
from .swin_stage import SwinStage
from .text_aware import TextAwareBackbone
from .weights import FittedWeights

NUM_STAGES = 4


@BACKBONE_REGISTRY.register()
class TextAwareSwin(TextAwareBackbone):
    """Swin whose stages exchange with the text before patch merging.

    V_i = SwinBlocks_i(X_{i-1}); X_i = PatchMerging_i(V_i + update).
    """

    offers_entry = True
    parts: ClassVar[Mapping[str, str]] = {
        "stages": "Swin blocks",
        "alignments": "alignment",
        "": "patches and merging",
    }
    patch_embed: PatchEmbed
    stages: nn.ModuleList
    merges: nn.ModuleList

    @configurable
    def __init__(
        self,
        *,
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        window_size: int,
        drop_path_rate: float,
        **shared: Any,
    ):
        """
        Args:
            embed_dim: channels of stage 1; stage i has embed_dim * 2^(i-1).
            depths: blocks of each stage.
            num_heads: attention heads of each stage.
            window_size: side of an attention window, in positions.
            drop_path_rate: stochastic depth of the last block, growing linearly from 0.
            shared: the other arguments of TextAwareBackbone.
        """
        shapes = _swin_shapes(embed_dim)
        dims = [shape.channels for shape in shapes]
        patch_embed = PatchEmbed(embed_dim=embed_dim, norm_layer=nn.LayerNorm)
        # Detectron2 takes stochastic depth from timm; torchvision's replaces it below.
        stages = nn.ModuleList(
            SwinStage(dim=dim, depth=depth, num_heads=heads, window_size=window_size)
            for dim, depth, heads in zip(dims, depths, num_heads, strict=True)
        )
        merges = nn.ModuleList(PatchMerging(dim) for dim in dims[:-1])
        network = {"patch_embed": patch_embed, "stages": stages, "merges": merges}
        for part in network.values():  # the other parts initialise themselves
            part.apply(initialize_linear)
        _set_stochastic_depth(stages, drop_path_rate)
        super().__init__(network=network, shapes=shapes, **shared)

    @classmethod
    def from_config(cls, cfg: CfgNode, _: ShapeSpec, text_shape: ShapeSpec) -> dict[str, Any]:
        swin = cfg.MODEL.SWIN
        return {
            "embed_dim": swin.EMBED_DIM,
            "depths": swin.DEPTHS,
            "num_heads": swin.NUM_HEADS,
            "window_size": swin.WINDOW_SIZE,
            "drop_path_rate": swin.DROP_PATH_RATE,
            **cls.shared_arguments(cfg, _swin_shapes(swin.EMBED_DIM), text_shape),
        }

    def embed(self, image: Tensor) -> Tensor:
        """X_0 (B, C_1, h_1, w_1)."""
        patches = self.patch_embed(image)
        if self.position is None:
            return patches
        height, width = patches.shape[-2:]
        positions = patches.flatten(2).transpose(1, 2) + self.position(height, width)
        return positions.transpose(1, 2).unflatten(2, (height, width))

    def add_position(self, stage: StageInput, position: nn.Module) -> StageInput:
        """Unchanged: X_0 has the signal already."""
        return stage

    def run_stage(self, stage: int, x: Tensor, text: TextFeatures) -> StageInput:
        height, width = x.shape[-2:]
        entry = x.flatten(2).transpose(1, 2)  # (B, N_i, C_i)
        visual = self.stages[stage](entry, height, width)
        return StageInput(visual, text, (height, width), entry)

    def leave_stage(self, stage: int, visual: Tensor, map_size: tuple[int, int]) -> Tensor:
        """X_i (B, C_{i+1}, h_{i+1}, w_{i+1})."""
        height, width = map_size
        merged = self.merges[stage](visual, height, width).transpose(1, 2)
        return merged.unflatten(2, ((height + 1) // 2, (width + 1) // 2))

    def network_modules(self, num_stages: int) -> list[nn.Module]:
        return [self.patch_embed, *self.stages[:num_stages], *self.merges[: num_stages - 1]]

    def recomputed_modules(self) -> list[nn.Module]:
        return _swin_blocks(self.stages)

    def fit_weights(self, state: Mapping[str, Tensor]) -> FittedWeights | None:
        return fit_swin_release(state, self.state_dict()) if is_swin_release(state) else None


def _swin_shapes(embed_dim: int) -> list[ShapeSpec]:
    """Channels and stride of each stage."""
    return [
        ShapeSpec(channels=embed_dim * 2**stage, stride=4 * 2**stage) for stage in range(NUM_STAGES)
    ]


def _swin_blocks(stages: nn.ModuleList) -> list[nn.Module]:
    """The blocks of all stages, from the first."""
    return [block for stage in stages for block in cast(SwinStage, stage).blocks]


def _set_stochastic_depth(stages: nn.ModuleList, drop_path_rate: float) -> None:
    """Give block k of n the rate drop_path_rate * k / (n - 1); no parameters are involved."""
    blocks = _swin_blocks(stages)
    rates = torch.linspace(0, drop_path_rate, len(blocks)).tolist()
    for block, rate in zip(blocks, rates, strict=True):
        if rate > 0:
            block.drop_path = StochasticDepth(rate, mode="row")
