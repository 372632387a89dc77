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
from .kernels import Kernel, kernels_of
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
        return self.run(func, args, kwargs)

    def run(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class KernelCount(Decomposition):
    """Lists the kernels of what runs within it, each with its part of the model."""

    def __init__(self, running: RunningPart):
        super().__init__()
        self.running = running
        self.kernels: Counted = []

    def run(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        part = self.running.current
        self.kernels += [(part, kernel) for kernel in kernels_of(func, args, kwargs, result)]
        return result


def count_traffic(
    cfg: CfgNode, model: CADFormer, *, card: Card, batch_size: int, num_tokens: int, dtype: str
) -> dict[str, Any]:
    """A training step and a forward pass of a batch, and a forward pass of one sample.

    Nothing is computed and no GPU is needed: tensors have sizes only. Every call has run once
    before it is counted, so that what is made once (masks, optimizer's moments) is there.

    Args:
        cfg: of the optimizer and the input's size.
        model: loses its weights.
        num_tokens: word pieces of an expression.
        dtype: of autocast, of precision.DTYPES.

    Returns:
        "training", "inference" and "inference of one", each with "seconds", "launches", "bytes" and
        "macs", and the same "by class" of operators and "by component" of the model, where the
        seconds are those that the card works.
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
        return {name: described(count(model, call), card) for name, call in calls.items()}


def count(model: CADFormer, call: Callable[[], object]) -> Counted:
    """The kernels of a call, which runs twice."""
    running = RunningPart(model)
    with backward_in_python(running.visit), running.following():
        with Decomposition():
            call()
        running.borders.clear()
        with KernelCount(running) as counted:
            call()
    return counted.kernels


def described(counted: Counted, card: Card) -> dict[str, Any]:
    """Sums as plain numbers."""
    kernels = [kernel for _, kernel in counted]
    by_class: dict[str, list[Kernel]] = defaultdict(list)
    by_part: dict[str, list[Kernel]] = defaultdict(list)
    for part, kernel in counted:
        by_class[kernel.kind].append(kernel)
        by_part[OPTIMIZER if kernel.kind == OPTIMIZER else part].append(kernel)
    return {
        "seconds": call_seconds(kernels, card),
        "seconds of the card": sums(kernels, card)["seconds"],
        **{name: value for name, value in sums(kernels, card).items() if name != "seconds"},
        "by class": {kind: sums(group, card) for kind, group in sorted(by_class.items())},
        "by component": {part: sums(group, card) for part, group in sorted(by_part.items())},
    }


def sums(kernels: Sequence[Kernel], card: Card) -> dict[str, Any]:
    return {
        "seconds": sum(device_seconds(kernel, card) for kernel in kernels),
        "launches": sum(kernel.launches for kernel in kernels),
        "bytes": sum(kernel.bytes for kernel in kernels),
        "macs": sum(kernel.macs for kernel in kernels),
    }
