"""Graphics cards by name: the arithmetic and memory throughput they reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch

T, TB = 1e12, 1e12
# A large matrix product on an H200 reached 79 % of its data sheet (391 of 495 trillion
# multiply-adds per second), a large copy 87 % (4.17 of 4.8 TB/s); assume the same of other cards.
PRODUCTS, COPIES = 0.79, 0.87


@dataclass(frozen=True)
class Card:
    """The throughput that the largest products and copies reach."""

    name: str
    half_macs: float  # multiply-adds a second in bfloat16 and float16
    float_macs: float  # in float32
    bandwidth: float  # bytes a second of the card's memory, read and written together
    processors: int  # streaming multiprocessors, which one block of a kernel each keeps busy
    has_cudnn_attention: bool  # PyTorch prefers cuDNN's attention (Hopper), else Flash


def _card_from_data_sheet(
    name: str, half_flops: float, float_flops: float, bandwidth: float, processors: int
) -> Card:
    """A card from its data sheet: dense FLOP/s (two FLOPs per multiply-add) and bytes/s."""
    macs = (PRODUCTS * half_flops / 2, PRODUCTS * float_flops / 2)
    return Card(name, *macs, COPIES * bandwidth, processors, has_cudnn_attention="H" in name)


# NVIDIA's data sheets: H100 SXM5 (2023), A100 80 GB SXM (2021), Ada GPU architecture white paper
# (RTX 4090, float32 accumulation), GA102 white paper (RTX 3090, the same).
CARDS = {
    "h200": Card("H200", 391 * T, 25.5 * T, 4.17 * TB, 132, has_cudnn_attention=True),  # measured
    "h100": _card_from_data_sheet("H100", 989 * T, 67 * T, 3.35 * TB, 132),
    "a100": _card_from_data_sheet("A100", 312 * T, 19.5 * T, 2.04 * TB, 108),
    "rtx4090": _card_from_data_sheet("RTX 4090", 165 * T, 82.6 * T, 1.01 * TB, 128),
    "rtx3090": _card_from_data_sheet("RTX 3090", 71 * T, 35.6 * T, 0.936 * TB, 82),
}


def peak_macs(card: Card, dtype: torch.dtype) -> float:
    """Multiply-adds per second in a dtype."""
    return card.half_macs if dtype in (torch.bfloat16, torch.float16) else card.float_macs
