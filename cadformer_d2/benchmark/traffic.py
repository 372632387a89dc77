"""A model of the machine: what a pass moves and computes, and its seconds on a named card."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch.utils._python_dispatch import TorchDispatchMode

from ..engine.optimizer import build_optimizer
from ..modeling import CADFormer
from .backward_walk import backward_in_python
from .cards import Card
from .fake_card import fake_card, move_to_fake_card
from .kernels import Kernel, list_kernels
from .roofline import call_seconds, device_seconds
from .running_part import RunningPart
from .workloads import forward_pass, random_batch, training_step

COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
OPTIMIZER = "optimizer"
Counted = list[tuple[str, Kernel]]  # each kernel with its part of the model


class Decomposition(TorchDispatchMode):
    """Shows operators as a GPU runs them; inference mode would show some made of others."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs)
        return self.run_operator(func, args, kwargs)

    def run_operator(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class KernelCount(Decomposition):
    """Lists the kernels of what runs within it, each with its part of the model."""

    def __init__(self, running: RunningPart):
        super().__init__()
        self.running = running
        self.kernels: Counted = []

    def run_operator(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        part = self.running.current
        self.kernels += [(part, kernel) for kernel in list_kernels(func, args, kwargs, result)]
        return result


def count_traffic(
    cfg: CfgNode, model: CADFormer, *, card: Card, batch_size: int, num_tokens: int, dtype: str
) -> dict[str, Any]:
    """A training step and a forward pass of a batch, and a forward pass of one sample.

    Nothing is computed and no GPU is needed: tensors have sizes only. Each call runs once before it
    is counted, so that caches (masks, the optimizer's moments) are filled.

    Args:
        cfg: of the optimizer and the input's size.
        model: its weights are discarded.
        num_tokens: tokens of an expression.
        dtype: of autocast, of precision.DTYPES.

    Returns:
        "training", "inference" and "inference of one", each with "seconds", "launches", "bytes" and
        "macs", and the same "by class" of operators and "by component" of the model, where the
        seconds count only the time in which the card works.
    """
    batch = random_batch(cfg, batch_size=batch_size, num_tokens=num_tokens)
    with fake_card(card):
        move_to_fake_card(model)
        step = training_step(model, batch, dtype, build_optimizer(cfg, model))
        calls = {
            "training": step,
            "inference": forward_pass(model, batch, dtype),
            "inference of one": forward_pass(model, batch[:1], dtype),
        }
        return {name: _summarize(_count_kernels(model, call), card) for name, call in calls.items()}


def _count_kernels(model: CADFormer, call: Callable[[], object]) -> Counted:
    """Count the kernels of a call, which runs twice."""
    running = RunningPart(model)
    with backward_in_python(running.visit), running.follow():
        with Decomposition():
            call()
        running.borders.clear()
        with KernelCount(running) as counted:
            call()
    return counted.kernels


def _summarize(counted: Counted, card: Card) -> dict[str, Any]:
    """Total the kernels of a call by operator class and by component."""
    kernels = [kernel for _, kernel in counted]
    by_class: dict[str, list[Kernel]] = defaultdict(list)
    by_part: dict[str, list[Kernel]] = defaultdict(list)
    for part, kernel in counted:
        by_class[kernel.kind].append(kernel)
        by_part[OPTIMIZER if kernel.kind == OPTIMIZER else part].append(kernel)
    return {
        "seconds": call_seconds(kernels, card),
        "seconds of the card": _sum_kernels(kernels, card)["seconds"],
        **{name: value for name, value in _sum_kernels(kernels, card).items() if name != "seconds"},
        "by class": {kind: _sum_kernels(group, card) for kind, group in sorted(by_class.items())},
        "by component": {
            part: _sum_kernels(group, card) for part, group in sorted(by_part.items())
        },
    }


def _sum_kernels(kernels: Sequence[Kernel], card: Card) -> dict[str, Any]:
    return {
        "seconds": sum(device_seconds(kernel, card) for kernel in kernels),
        "launches": sum(kernel.launches for kernel in kernels),
        "bytes": sum(kernel.bytes for kernel in kernels),
        "macs": sum(kernel.macs for kernel in kernels),
    }
