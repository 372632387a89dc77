"""LGCE's language-guided enhancement of the two coarser maps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...layers.initialization import initialize_linear
from ...structures import TextFeatures
from .build import NECK_REGISTRY

HEAD_DIM = 64  # channels of an attention head
NUM_BLOCKS = (1, 3)  # of the two coarsest levels, the released pair


class PreNormBlock(nn.Module):
    """Z + MSA(LN(Z)), then Z + MLP(LN(Z)): an encoder block of the Vision Transformer."""

    def __init__(self, *, dim: int):
        """
        Args:
            dim: channels.
        """
        super().__init__()
        # Fewer where HEAD_DIM does not divide the channels: heads share them evenly.
        most = max(1, dim // HEAD_DIM)
        self.num_heads = next(heads for heads in range(most, 0, -1) if dim % heads == 0)
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, N, dim) to (B, N, dim)."""
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(z)).chunk(3, dim=-1)
        )  # (B, heads, N, dim / heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        z = z + self.output(attended.transpose(1, 2).flatten(2))
        return z + self.mlp(z)


class GuidedEncoder(nn.Module):
    """Self-attention over a map's positions and one token that stands for the expression."""

    def __init__(self, *, dim: int, text_dim: int, num_blocks: int):
        """
        Args:
            dim: channels of the map.
            text_dim: C_l.
            num_blocks: encoder blocks.
        """
        super().__init__()
        self.guide = nn.Linear(text_dim, dim)
        self.blocks = nn.Sequential(*(PreNormBlock(dim=dim) for _ in range(num_blocks)))

    def forward(self, feature: Tensor, mean_word: Tensor) -> Tensor:
        """
        Args:
            feature: (B, C, h, w).
            mean_word: mean word (B, 1, C_l).

        Returns:
            (B, C, h, w).
        """
        positions = feature.flatten(2).transpose(1, 2)  # (B, h * w, C)
        encoded = self.blocks(torch.cat([self.guide(mean_word), positions], dim=1))
        return encoded[:, 1:].transpose(1, 2).unflatten(2, feature.shape[-2:])


@NECK_REGISTRY.register()
class LGCE(nn.Module):
    """LGCE's neck (arXiv 2306.08625): maps 3 and 4 attend to themselves and to the mean word.

    As the released code computes it, whose exchange of the two guide tokens afterwards reaches
    nothing and is not built. The mean is over real tokens; the released one is over padding too.
    """

    reads_text = True

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], text_dim: int):
        """
        Args:
            input_shape: the backbone's maps by name.
            text_dim: C_l.
        """
        super().__init__()
        self.encoders = nn.ModuleDict(
            {
                name: GuidedEncoder(
                    dim=input_shape[name].channels, text_dim=text_dim, num_blocks=number
                )
                for name, number in zip(list(input_shape)[-2:], NUM_BLOCKS, strict=True)
            }
        )
        self.apply(initialize_linear)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        return {"input_shape": input_shape, "text_dim": text_shape.channels}

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> dict[str, Tensor]:
        """
        Args:
            pyramid: (B, C_i, h_i, w_i) by name.
            text: as it left the backbone.

        Returns:
            maps of the same names and shapes; 1 and 2 as they came.
        """
        is_token = text.is_token[..., None]  # (B, T, 1)
        mean_word = (text.tokens * is_token).sum(1, keepdim=True) / is_token.sum(1, keepdim=True)
        enhanced = {
            name: encode(pyramid[name], mean_word) for name, encode in self.encoders.items()
        }
        return {**pyramid, **enhanced}
