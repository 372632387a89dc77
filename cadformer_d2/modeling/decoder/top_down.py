"""The top-down decoder of LAVT's line; RMSIN's OAD and the paper's TCMD extend it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...layers.convolution import Convolution3x3
from ...layers.mixed_precision import compute_dtype
from ...layers.rotated_conv import AdaptiveRotatedConv2d
from ...structures import TextFeatures
from .build import DECODER_REGISTRY


class TopDownDecoder(nn.Module):
    """D_4 = F_4. For i = 3, 2, 1: upsample D_{i+1} to stage i, join with F_i, fuse, refine.

    Fusing is [3x3 conv, BN, ReLU, another 3x3 convolution, BN, ReLU]; subclasses say which one
    comes second, and how to refine. A 1x1 convolution of D_1 gives the logits, of several positions
    for each of D_1 where ``subpixels`` is above 1 (sub-pixel convolution, arXiv 1609.05158).
    """

    reads_text = False
    # The second convolution of a level is adaptive rotated in OAD and TCMD, ordinary elsewhere.
    parts: ClassVar[Mapping[str, str]] = {
        r"fusions\.\d+\.3": "decoder second convolutions",
        "": "decoder convolutions",
    }

    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        hidden_dim: int,
        subpixels: int,
        second_convolution: Callable[[int], nn.Module],
    ):
        """
        Args:
            input_shape: the backbone's maps by name, finest first.
            hidden_dim: channels of D_3, D_2 and D_1.
            subpixels: s, positions per axis for which one of D_1 has logits; 1 in the papers.
            second_convolution: from a number of channels to a 3x3 convolution that keeps it.
        """
        super().__init__()
        self.in_features = list(input_shape)
        channels = [spec.channels for spec in input_shape.values()]
        # Coarse to fine: stages 3, 2, 1.
        coarse_channels = [channels[-1]] + [hidden_dim] * (len(channels) - 2)
        self.fusions = nn.ModuleList(
            nn.Sequential(
                Convolution3x3(coarse + skip, hidden_dim),
                nn.BatchNorm2d(hidden_dim),
                nn.ReLU(inplace=True),
                second_convolution(hidden_dim),
                nn.BatchNorm2d(hidden_dim),
                nn.ReLU(inplace=True),
            )
            for coarse, skip in zip(coarse_channels, channels[-2::-1], strict=True)
        )
        self.subpixels = subpixels
        self.classifier = nn.Conv2d(hidden_dim, 2 * subpixels**2, 1)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        decoder = cfg.MODEL.DECODER
        return {
            "input_shape": input_shape,
            "hidden_dim": decoder.HIDDEN_DIM,
            "subpixels": decoder.SUBPIXELS,
        }

    def recomputed_modules(self) -> list[nn.Module]:
        """The levels' convolutions, for MODEL.CHECKPOINT_ACTIVATIONS."""
        return list(self.fusions)

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> Tensor:
        """
        Args:
            pyramid: F_1..F_4, (B, C_i, h_i, w_i) each.
            text: as it left the backbone.

        Returns:
            logits (B, 2, s * h_1, s * w_1): background, target.
        """
        fine_to_coarse = [pyramid[name] for name in self.in_features]
        decoded = fine_to_coarse[-1]  # D_4
        for level, fuse in enumerate(self.fusions):
            skip = fine_to_coarse[-2 - level]
            # Round here: norms return float32 under autocast, and joining would widen the skip too.
            decoded = decoded.to(compute_dtype(decoded))
            decoded = F.interpolate(
                decoded, size=skip.shape[-2:], mode="bilinear", align_corners=True
            )
            decoded = fuse(torch.cat([decoded, skip], dim=1))  # (B, hidden_dim, h_i, w_i)
            decoded = self.refine(level, decoded, text)
        logits = self.classifier(decoded)  # (B, 2 s^2, h_1, w_1)
        return F.pixel_shuffle(logits, self.subpixels) if self.subpixels > 1 else logits

    def refine(self, level: int, decoded: Tensor, text: TextFeatures) -> Tensor:
        """Refine a level (0 at stage 3) after its convolutions; the identity here."""
        return decoded


@DECODER_REGISTRY.register()
class SimpleDecoding(TopDownDecoder):
    """LAVT's head (arXiv 2112.02244), also FIANet's: ordinary convolutions, no text."""

    @configurable
    def __init__(self, *, input_shape: dict[str, ShapeSpec], hidden_dim: int, subpixels: int = 1):
        """Args: as TopDownDecoder."""
        super().__init__(
            input_shape=input_shape,
            hidden_dim=hidden_dim,
            subpixels=subpixels,
            second_convolution=lambda dim: Convolution3x3(dim, dim),
        )


@DECODER_REGISTRY.register()
class OAD(TopDownDecoder):
    """RMSIN's oriented-aware decoder (arXiv 2312.12470): adaptive rotated convolutions, no text."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        hidden_dim: int,
        num_kernels: int,
        subpixels: int = 1,
    ):
        """
        Args:
            input_shape, hidden_dim, subpixels: as TopDownDecoder.
            num_kernels: base kernels of each adaptive rotated convolution.
        """
        super().__init__(
            input_shape=input_shape,
            hidden_dim=hidden_dim,
            subpixels=subpixels,
            second_convolution=lambda dim: AdaptiveRotatedConv2d(
                in_channels=dim, out_channels=dim, num_kernels=num_kernels
            ),
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        shared = super().from_config(cfg, input_shape, text_shape)
        return {**shared, "num_kernels": cfg.MODEL.DECODER.NUM_KERNELS}
