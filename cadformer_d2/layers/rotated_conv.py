"""Adaptive rotated convolution (ARC, arXiv 2303.07820)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import convolve_3x3, convolve_columns
from .exporting import is_exporting
from .mixed_precision import autocast_kind

MAX_ANGLE = math.radians(40)


def rotation_matrices(angle: Tensor) -> Tensor:
    """The linear maps that rotate a 3 x 3 kernel by bilinear reading of its own grid.

    Cell (u, v), u the column offset and v the row offset (down positive), reads the old kernel at
    (u cos t - v sin t, u sin t + v cos t) clamped to the grid, so the pattern on screen turns
    counter-clockwise for t > 0. Cells are counted row by row: k = 3 (v + 1) + (u + 1).

    Args:
        angle: (...) radians, any float dtype; used in float32.

    Returns:
        (..., 9, 9) float32: entry [k, m] is the weight of old cell m in new cell k. Rows sum to 1;
        angle 0 is the identity.
    """
    angle = angle.float()[..., None]
    # Not torch.tensor([...]): its copy to a GPU would wait for the GPU.
    offset = torch.arange(-1.0, 2.0, device=angle.device)
    u, v = offset.repeat(3), offset.repeat_interleave(3)  # (9,) each
    cos, sin = angle.cos(), angle.sin()
    read_u = (u * cos - v * sin).clamp(-1, 1)  # (..., 9)
    read_v = (u * sin + v * cos).clamp(-1, 1)
    weight_u = (1 - (read_u[..., None] - u).abs()).clamp(min=0)  # (..., 9, 9)
    weight_v = (1 - (read_v[..., None] - v).abs()).clamp(min=0)
    return weight_u * weight_v


class RotationRouter(nn.Module):
    """Predicts n angles and n combination weights from the convolution's input."""

    def __init__(self, *, channels: int, num_kernels: int, dropout: float = 0.2):
        """
        Args:
            channels: of the input map.
            num_kernels: n.
            dropout: rate in front of each of the two heads.
        """
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.weight_head = nn.Linear(channels, num_kernels)
        self.angle_head = nn.Linear(channels, num_kernels, bias=False)
        for module in (self.depthwise, self.weight_head, self.angle_head):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: (B, C, h, w).

        Returns:
            angles (B, n) in (-40, 40) degrees, given in radians; weights (B, n) in (0, 1), not
            normalised over the kernels.
        """
        described = self.norm(self.depthwise(x).permute(0, 2, 3, 1)).relu()  # (B, h, w, C)
        pooled = described.mean(dim=(1, 2))  # (B, C)
        angles = MAX_ANGLE * F.softsign(self.angle_head(self.dropout(pooled)))
        weights = self.weight_head(self.dropout(pooled)).sigmoid()
        return angles, weights


class AdaptiveRotatedConv2d(nn.Module):
    """A 3 x 3 convolution whose kernel is rotated to suit each image.

    W~_b = sum_j weight_bj Rot(W_j, angle_bj); image b is convolved with its own W~_b.
    """

    def __init__(self, *, in_channels: int, out_channels: int, num_kernels: int = 1):
        """
        Args:
            in_channels, out_channels: of the maps.
            num_kernels: n, the number of base kernels, rotated and summed (1 in CADFormer and
                RMSIN).
        """
        super().__init__()
        self.router = RotationRouter(channels=in_channels, num_kernels=num_kernels)
        self.weight = nn.Parameter(torch.empty(num_kernels, out_channels, in_channels, 3, 3))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (9 * num_kernels * in_channels)))

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x: (B, C_in, h, w).

        Returns:
            (B, C_out, h, w).
        """
        kernels = self.rotate_kernels(*self.router(x))
        return convolve_columns(x, kernels) if is_exporting() else convolve_3x3(x, kernels)

    def rotate_kernels(self, angles: Tensor, weights: Tensor) -> Tensor:
        """Compute each image's kernel (B, C_out, C_in, 3, 3) from (B, n) angles and weights.

        In the weights' own dtype even under autocast: a kernel is rounded once, when it is used.
        """
        with torch.autocast(autocast_kind(weights), enabled=False):
            turn = weights[..., None, None] * rotation_matrices(angles)  # (B, n, 9, 9)
            base = self.weight.flatten(-2)  # (n, C_out, C_in, 9)
            turn = turn.to(base.dtype)
            if turn.is_cuda:
                kernels = rotate_by_output_channel(turn, base)
            else:
                kernels = torch.einsum("bnkm,noim->boik", turn, base)
        return kernels.unflatten(-1, (3, 3))


def rotate_by_output_channel(turn: Tensor, base: Tensor) -> Tensor:
    """sum_nm turn[b, n, k, m] base[n, o, i, m], as one small product for each output channel.

    As a single product its gradient by ``turn`` would sum C_out * C_in terms into 81 B n numbers:
    too few for a GPU to share the work.

    Args:
        turn: (B, n, 9, 9).
        base: (n, C_out, C_in, 9).

    Returns:
        (B, C_out, C_in, 9), with the input channels last in memory, as channels-last
        convolutions read kernels.
    """
    batch, out_channels = len(turn), base.shape[1]
    turn = turn.permute(0, 2, 1, 3).reshape(1, batch * 9, -1)  # (1, B * 9, n * 9)
    base = base.permute(1, 0, 3, 2).flatten(1, 2)  # (C_out, n * 9, C_in)
    kernels = torch.bmm(turn.expand(out_channels, -1, -1), base)  # (C_out, B * 9, C_in)
    return kernels.unflatten(1, (batch, 9)).permute(1, 0, 3, 2)
