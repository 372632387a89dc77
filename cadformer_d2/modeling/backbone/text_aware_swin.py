"""Swin Transformer with the sentence woven into every stage, made of Detectron2's Swin parts."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.swin import PatchEmbed, PatchMerging
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ...layers.initialization import initialize_linear
from ...structures import TextFeatures
from ..alignment import AlignmentSpec, build_alignment
from ..decoder import decoder_reads_text
from ..neck import neck_reads_text
from ..position import build_position
from .swin_stage import SwinStage

NUM_STAGES = 4


@BACKBONE_REGISTRY.register()
class TextAwareSwin(Backbone):
    """Swin whose stages exchange with the text before patch merging.

    V_i = SwinBlocks_i(X_{i-1}); alignment gives F_i, an update of V_i and L_{i+1};
    X_i = PatchMerging_i(V_i + update). The pyramid is LayerNorm_i(F_i).
    """

    @configurable
    def __init__(
        self,
        *,
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        window_size: int,
        drop_path_rate: float,
        alignments: list[nn.Module],
        position: nn.Module | None,
    ):
        """
        Args:
            embed_dim: channels of stage 1; stage i has embed_dim * 2^(i-1).
            depths: blocks of each stage.
            num_heads: attention heads of each stage.
            window_size: side of an attention window, in positions.
            drop_path_rate: stochastic depth of the last block, growing linearly from 0.
            alignments: one per stage.
            position: gives the absolute position signal of a map size, or None.
        """
        super().__init__()
        self.dims = [embed_dim * 2**stage for stage in range(NUM_STAGES)]
        self.patch_embed = PatchEmbed(embed_dim=embed_dim, norm_layer=nn.LayerNorm)
        # Detectron2 takes its stochastic depth from timm; torchvision's is put in afterwards.
        self.stages = nn.ModuleList(
            SwinStage(dim=dim, depth=depth, num_heads=heads, window_size=window_size)
            for dim, depth, heads in zip(self.dims, depths, num_heads, strict=True)
        )
        self.merges = nn.ModuleList(PatchMerging(dim) for dim in self.dims[:-1])
        self.apply(initialize_linear)
        # After the pass above: the other parts initialise themselves.
        self.alignments = nn.ModuleList(alignments)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in self.dims)
        self.position = position
        set_stochastic_depth(self.stages, drop_path_rate)

    @classmethod
    def from_config(cls, cfg: CfgNode, _: ShapeSpec, text_shape: ShapeSpec) -> dict[str, Any]:
        swin = cfg.MODEL.SWIN
        return {
            "embed_dim": swin.EMBED_DIM,
            "depths": swin.DEPTHS,
            "num_heads": swin.NUM_HEADS,
            "window_size": swin.WINDOW_SIZE,
            "drop_path_rate": swin.DROP_PATH_RATE,
            "alignments": [
                build_alignment(cfg, alignment_spec(cfg, stage, text_shape))
                for stage in range(NUM_STAGES)
            ],
            "position": build_position(cfg, dim=swin.EMBED_DIM),
        }

    def forward(self, image: Tensor, text: TextFeatures) -> tuple[dict[str, Tensor], TextFeatures]:
        """
        Args:
            image: (B, 3, H, W), normalised. Sides that are not multiples of 4 are padded with
                zeros on the right and at the bottom.
            text: L_1.

        Returns:
            the pyramid {"stage1": (B, C_1, h_1, w_1), ..., "stage4": ...}, and L_5.
        """
        patches = self.patch_embed(image)
        height, width = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)  # (B, h_1 * w_1, C_1)
        if self.position is not None:
            x = x + self.position(height, width)
        pyramid = {}
        for i, blocks in enumerate(self.stages):
            visual = blocks(x, height, width)  # V_i (B, h_i * w_i, C_i)
            alignment = self.alignments[i]
            extra = {"stage_input": x} if alignment.reads_stage_input else {}
            aligned = alignment(visual, text, (height, width), **extra)
            text = aligned.text
            fused = self.norms[i](aligned.fused).transpose(1, 2)
            pyramid[f"stage{i + 1}"] = fused.unflatten(2, (height, width))
            if i < len(self.merges):
                x = self.merges[i](visual + aligned.visual_update, height, width)
                height, width = (height + 1) // 2, (width + 1) // 2
        return pyramid, text

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            f"stage{i + 1}": ShapeSpec(channels=dim, stride=2 ** (i + 2))
            for i, dim in enumerate(self.dims)
        }

    @property
    def size_divisibility(self) -> int:
        """0: any size is accepted."""
        return 0


def alignment_spec(cfg: CfgNode, stage: int, text_shape: ShapeSpec) -> AlignmentSpec:
    """What stage ``stage`` (from 0) offers its alignment, and what is read of its result."""
    is_last = stage == NUM_STAGES - 1
    return AlignmentSpec(
        stage=stage,
        visual_dim=cfg.MODEL.SWIN.EMBED_DIM * 2**stage,
        text_dim=text_shape.channels,
        feeds_next_stage=not is_last,
        text_is_read=not is_last or decoder_reads_text(cfg) or neck_reads_text(cfg),
    )


def set_stochastic_depth(stages: nn.ModuleList, drop_path_rate: float) -> None:
    """Give block k of n the rate drop_path_rate * k / (n - 1); no parameters are involved."""
    blocks = [block for stage in stages for block in stage.blocks]
    rates = torch.linspace(0, drop_path_rate, len(blocks)).tolist()
    for block, rate in zip(blocks, rates, strict=True):
        if rate > 0:
            block.drop_path = StochasticDepth(rate, mode="row")
