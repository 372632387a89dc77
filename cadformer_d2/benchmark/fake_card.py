"""A CUDA device without values: operators dispatch as on a GPU, and no GPU is needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn
from torch._prims_common import suggest_memory_format
from torch._subclasses.fake_tensor import FakeTensorMode

from ..layers import windows
from .attention_choice import AttentionChoice
from .cards import Card


@contextmanager
def fake_card(card: Card) -> Iterator[None]:
    """Within the context, tensors on "cuda" have sizes, strides and dtypes, but no values."""
    with ExitStack() as stack:
        # Without a GPU, autocast would switch itself off and bfloat16 would be refused.
        absent = "torch.cuda.amp.common.amp_definitely_not_available"
        stack.enter_context(patch(absent, lambda: False))
        stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda *_: True))
        stack.enter_context(warnings.catch_warnings())
        # Cached biases are keyed by their table's address, which is 0 here.
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        # Cached by device: fake tensors must not leak out, nor real ones in.
        for cached in (windows.shift_mask, windows.window_places):
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        layout = "torch._C._conv_determine_backend_memory_format"
        stack.enter_context(patch(layout, _convolution_layout))
        attend = AttentionChoice(card).attend
        stack.enter_context(patch.object(F, "scaled_dot_product_attention", attend))
        yield


def move_to_fake_card(model: nn.Module) -> None:
    """Replace parameters and buffers in place by fake tensors on "cuda".

    ``Module.to`` swaps the contents of tensors, which fake tensors do not allow.
    """
    shared: dict[int, torch.Tensor] = {}
    for module in model.modules():
        stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for store in stores:
            for name, value in store.items():
                if value is not None:
                    store[name] = shared.setdefault(id(value), _without_values(value))


def _without_values(tensor: torch.Tensor) -> torch.Tensor:
    size, strides = tensor.shape, tensor.stride()
    moved = torch.empty_strided(size, strides, dtype=tensor.dtype, device="cuda")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved


def _convolution_layout(x: torch.Tensor, weight: torch.Tensor, _: Any) -> torch.memory_format:
    """The layout of a convolution's result by cuDNN, which a PyTorch for CPUs lacks."""
    layouts = {suggest_memory_format(x), suggest_memory_format(weight)}
    is_last = torch.channels_last in layouts and x.dtype != torch.float64
    return torch.channels_last if is_last else torch.contiguous_format
