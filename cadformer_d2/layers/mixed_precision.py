"""The dtype in which a module computes, and where autocast decides it."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype to which the next matrix product rounds ``x``: autocast's, or its own without it.

    Norms return float32 under autocast. Data that is only moved between a norm and a product is
    rounded before the move: the product reads the same numbers, and the move half the bytes.
    """
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def autocast_kind(x: Tensor) -> str:
    """The kind of device for ``torch.autocast`` around products with ``x``.

    The meta device, which counts operators, knows no autocast. A name rather than the context: a
    function that returns a context breaks a compiled graph.
    """
    return x.device.type if x.device.type != "meta" else "cpu"
