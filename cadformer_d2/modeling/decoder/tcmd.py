"""TCMD, the paper's textual-enhanced cross-modal decoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...layers.rotated_conv import AdaptiveRotatedConv2d
from ...structures import TextFeatures
from .build import DECODER_REGISTRY


def fusion_block(in_channels: int, out_channels: int, num_kernels: int) -> nn.Sequential:
    """[3x3 conv, BN, ReLU, adaptive rotated 3x3 conv, BN, ReLU] (equation 13)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        AdaptiveRotatedConv2d(
            in_channels=out_channels, out_channels=out_channels, num_kernels=num_kernels
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


@DECODER_REGISTRY.register()
class TCMD(nn.Module):
    """Top-down decoder that asks the sentence again at the two coarser levels (equations 13-15).

    D_4 = F_4. For i = 3, 2, 1: upsample D_{i+1} to stage i, join with F_i, fuse by convolutions;
    for i = 3, 2 a Transformer decoder layer follows: self-attention over the positions, then
    cross-attention to the text. A 1x1 convolution of D_1 gives the logits.
    """

    reads_text = True

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        text_dim: int,
        hidden_dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        num_kernels: int,
    ):
        """
        Args:
            input_shape: the backbone's maps by name, finest first.
            text_dim: C_l; projected once to ``hidden_dim`` where the two differ.
            hidden_dim: channels of D_3, D_2 and D_1.
            num_heads, ffn_dim, dropout: of the Transformer layers.
            num_kernels: base kernels of each adaptive rotated convolution.
        """
        super().__init__()
        self.in_features = list(input_shape)
        channels = [spec.channels for spec in input_shape.values()]
        self.text_projection = (
            nn.Identity() if text_dim == hidden_dim else nn.Linear(text_dim, hidden_dim)
        )
        # Coarse to fine: stages 3, 2, 1.
        coarse_channels = [channels[-1]] + [hidden_dim] * (len(channels) - 2)
        self.fusions = nn.ModuleList(
            fusion_block(coarse + skip, hidden_dim, num_kernels)
            for coarse, skip in zip(coarse_channels, channels[-2::-1], strict=True)
        )
        self.text_layers = nn.ModuleList(
            nn.TransformerDecoderLayer(hidden_dim, num_heads, ffn_dim, dropout, batch_first=True)
            for _ in self.fusions[:-1]
        )
        self.classifier = nn.Conv2d(hidden_dim, 2, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        decoder = cfg.MODEL.DECODER
        return {
            "input_shape": input_shape,
            "text_dim": cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE,
            "hidden_dim": decoder.HIDDEN_DIM,
            "num_heads": decoder.NUM_HEADS,
            "ffn_dim": decoder.FFN_DIM,
            "dropout": decoder.DROPOUT,
            "num_kernels": decoder.NUM_KERNELS,
        }

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> Tensor:
        """
        Args:
            pyramid: F_1..F_4, (B, C_i, h_i, w_i) each.
            text: L_5, the text refined by all stages.

        Returns:
            logits (B, 2, h_1, w_1): background, target.
        """
        fine_to_coarse = [pyramid[name] for name in self.in_features]
        text = TextFeatures(self.text_projection(text.tokens), text.is_token)
        decoded = fine_to_coarse[-1]  # D_4
        for level, fuse in enumerate(self.fusions):
            skip = fine_to_coarse[-2 - level]
            decoded = F.interpolate(
                decoded, size=skip.shape[-2:], mode="bilinear", align_corners=True
            )
            decoded = fuse(torch.cat([decoded, skip], dim=1))  # (B, hidden_dim, h_i, w_i)
            if level < len(self.text_layers):
                decoded = self.ask_text(self.text_layers[level], decoded, text)
        return self.classifier(decoded)

    def ask_text(self, layer: nn.Module, decoded: Tensor, text: TextFeatures) -> Tensor:
        """One Transformer decoder layer over the h_i * w_i positions of a map (equation 14)."""
        positions = decoded.flatten(2).transpose(1, 2)  # (B, h_i * w_i, hidden_dim)
        positions = layer(positions, text.tokens, memory_key_padding_mask=~text.is_token)
        return positions.transpose(1, 2).unflatten(2, decoded.shape[-2:])
