"""TMEM, FIANet's text-aware multi-scale enhancement module."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...layers.attention import PixelWordAttention
from ...layers.initialization import initialize_linear
from ...structures import TextFeatures
from .build import NECK_REGISTRY
from .cross_scale import CrossScaleNeck, mixed_dim


class TextAwareBlock(nn.Module):
    """y = x + PWA(LN(x), L); x' = y + MLP(LN(y)), over the positions of the mixed map."""

    def __init__(self, *, dim: int, text_dim: int):
        """
        Args:
            dim: channels of the map.
            text_dim: C_l.
        """
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = PixelWordAttention(query_dim=dim, memory_dim=text_dim, dim=dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )
        self.mlp.apply(initialize_linear)

    def forward(self, mixed: Tensor, text: TextFeatures) -> Tensor:
        """(B, dim, h, w) to (B, dim, h, w)."""
        x = mixed.flatten(2).transpose(1, 2)  # (B, h * w, dim)
        x = x + self.attention(self.attention_norm(x), text)
        x = x + self.mlp(x)
        return x.transpose(1, 2).unflatten(2, mixed.shape[-2:])


@NECK_REGISTRY.register()
class TMEM(CrossScaleNeck):
    """FIANet's neck (arXiv 2409.13637): mixes the scales by attention to the expression."""

    reads_text = True

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], text_dim: int, num_blocks: int):
        """
        Args:
            input_shape: as CrossScaleNeck.
            text_dim: C_l.
            num_blocks: 3 on RRSIS-D, 1 on RefSegRS.
        """
        dim = mixed_dim(input_shape)
        blocks = [TextAwareBlock(dim=dim, text_dim=text_dim) for _ in range(num_blocks)]
        super().__init__(input_shape=input_shape, blocks=blocks)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        return {
            **super().from_config(cfg, input_shape, text_shape),
            "text_dim": text_shape.channels,
            "num_blocks": cfg.MODEL.NECK.NUM_BLOCKS,
        }
