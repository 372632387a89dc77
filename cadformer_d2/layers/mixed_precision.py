"""The number format that a module computes in."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """What the next matrix product will round ``x`` to: autocast's format, or its own without.

    Norms answer in float32 under autocast. What is only moved about between a norm and a product
    is rounded before: the product reads the same numbers, and the moves half the bytes.
    """
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)
