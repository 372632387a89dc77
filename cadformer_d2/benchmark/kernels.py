"""What an operator costs on a GPU: kernels, multiply-adds, and bytes read and written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .operator_classes import MADE_WITHOUT_KERNEL, num_launches, num_passes, operator_class


@dataclass(frozen=True)
class Kernel:
    """One operator's kernels, together."""

    operator: str  # its name, without "aten."
    kind: str  # one of operator_classes.CLASSES
    launches: int
    macs: int
    dtype: torch.dtype  # of the products
    bytes: int  # read and written on the card
    host_bytes: int = 0  # that come from the host or go there
    is_strided: bool = False  # neighbours in the input are not neighbours in the output
    blocks: int | None = None  # that share the work; None: enough for all processors
    has_mask: bool = False  # an attention that adds a mask to its scores

    def __post_init__(self) -> None:
        assert self.launches >= 0 and self.macs >= 0 and self.bytes >= 0, self


def list_kernels(func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> Iterator[Kernel]:
    """List the kernels of one ATen call; none for views and for work on the host."""
    name = func._schema.name.removeprefix("aten::")
    outputs, inputs = _tensors(result), _tensors((args, kwargs))
    if name in MADE_WITHOUT_KERNEL or func.is_view or not outputs and not name.startswith("_f"):
        return
    on_card = [x for x in (*inputs, *outputs) if x.is_cuda]
    if not on_card or not _has_new_or_written_output(func, inputs, outputs):
        return
    if any(not x.is_cuda and x.numel() > 1 for x in (*inputs, *outputs)) and "copy" in name:
        yield Kernel(name, "copy, cast", 0, 0, torch.float32, 0, on_card[0].nbytes)
        return
    traffic = sum(map(_unique_bytes, inputs)) + sum(map(_unique_bytes, outputs))
    if name == "copy_":  # the target's old values are not read
        traffic -= _unique_bytes(inputs[0])
    if name == "convolution" or name == "convolution_backward":
        yield from _convolution_kernels(name, args, result, traffic)
        return
    macs, kind = _multiply_adds(func, args, kwargs, result), operator_class(name)
    is_strided = kind in ("pointwise", "copy, cast") and _changes_order(inputs, outputs)
    yield Kernel(
        name,
        "layout change" if is_strided and kind == "copy, cast" else kind,
        num_launches(name, args, outputs or inputs),
        macs,
        inputs[0].dtype if inputs else outputs[0].dtype,
        int(traffic * num_passes(name, args)),
        is_strided=is_strided,
        blocks=_attention_blocks(name, args) if kind == "attention" else None,
        has_mask=kind == "attention" and _attention_mask(name, args) is not None,
    )


def _convolution_kernels(name: str, args: tuple, result: Any, traffic: int) -> Iterator[Kernel]:
    """A convolution's products, and cuDNN's changes of layout around them.

    cuDNN's kernels for tensor cores want channels last. Maps with channels first are turned
    before, and results after; groups are computed one after the other.
    """
    backward = name == "convolution_backward"
    x, weight = (args[1], args[2]) if backward else (args[0], args[1])
    groups = args[9] if backward else args[8]
    output = args[0] if backward else result
    products = sum(args[10][:2]) if backward else 1  # gradients of the map and of the kernel
    # Each output element is a sum over the kernel's cells and the group's channels.
    macs = products * output.numel() * weight[0].numel()
    if (
        groups == weight.shape[0] and groups > 1 and weight.shape[1] == 1
    ):  # PyTorch's own, depthwise
        yield Kernel(name, "convolution", products, macs, torch.float32, traffic)
        return
    last = {"memory_format": torch.channels_last}
    turned = x.shape[1] > 3 and not x.is_contiguous(**last) and x.dtype != torch.float32
    yield Kernel(name, "convolution", products * groups, macs, x.dtype, traffic)
    if turned:  # three tensors a product: two read, one written
        read_and_written = 2 * products * (x.nbytes + weight.nbytes + output.nbytes)
        count = 3 * products * groups
        turn = (name, "layout change", count, 0, x.dtype, read_and_written)
        yield Kernel(*turn, is_strided=True)
    if backward and args[10][2]:
        yield Kernel(name, "reduction", 1, 0, x.dtype, output.nbytes)
    if not backward and args[2] is not None:  # the bias is added afterwards
        yield Kernel(name, "pointwise", 1, 0, x.dtype, 2 * output.nbytes)


def _multiply_adds(func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> int:
    """Multiply-adds by PyTorch's own formulas; 0 where there is no product."""
    formula = flop_registry.get(func.overloadpacket)
    return 0 if formula is None else int(formula(*args, **kwargs, out_val=result)) // 2


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _has_new_or_written_output(func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """False for an operator that returns its input unchanged (a cast to the same dtype)."""
    if func._schema.is_mutable:
        return True
    given = {x.untyped_storage()._cdata for x in inputs}
    return any(x.untyped_storage()._cdata not in given for x in outputs)


def _unique_bytes(x: Tensor) -> int:
    """Bytes on the card, without those that expanding repeats."""
    if not x.is_cuda:
        return 0
    sides = zip(x.shape, x.stride(), strict=True)
    return math.prod(side for side, stride in sides if stride) * x.element_size()


def _changes_order(inputs: Iterable[Tensor], outputs: list[Tensor]) -> bool:
    """Whether the memory layout of a full-sized input differs from the first output's.

    Where strides agree and leave no gaps, an operator streams through memory; otherwise it computes
    an address for every element.
    """
    if not outputs or outputs[0].numel() == 1:
        return False
    target = outputs[0]
    return any(
        x.shape == target.shape and _effective_strides(x) != _effective_strides(target)
        for x in inputs
        if x.is_cuda
    )


def _effective_strides(x: Tensor) -> list[int]:
    """Strides of the axes that have more than one element."""
    return [stride for side, stride in zip(x.shape, x.stride(), strict=True) if side > 1]


def _attention_mask(name: str, args: tuple) -> Tensor | None:
    """The mask that a fused attention adds to its scores."""
    if "flash" in name:
        return None
    if "backward" not in name:
        return args[3]
    masks = {"cudnn": 8, "efficient": 4}
    return args[next(place for kernel, place in masks.items() if kernel in name)]


def _attention_blocks(name: str, args: tuple) -> int:
    """Blocks that share an attention: 64 queries each; one head each in the backward pass."""
    if "backward" in name:
        return math.prod(args[1].shape[:2])
    batch, heads, queries, _ = args[0].shape
    return batch * heads * -(-queries // 64)
