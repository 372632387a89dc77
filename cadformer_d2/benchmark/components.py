"""Where the time of a forward pass goes, by the components of the model."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..model_cost import OWN_WORK, part_name
from .timing import synchronize


@contextmanager
def seconds_by_part(model: nn.Module, device: torch.device) -> Iterator[dict[str, float]]:
    """Within the context, forward passes add up their seconds by part of the model.

    The GPU is synchronised at the border of each part, so the sum exceeds the time of a pass.
    """
    clock = PartClock(device)
    handles = [model.register_forward_pre_hook(lambda *_: clock.enter(OWN_WORK))]
    handles.append(model.register_forward_hook(lambda *_: clock.leave()))
    for name, module in part_modules(model):
        handles.append(
            module.register_forward_pre_hook(clock.make_enter_hook(part_name(model, name)))
        )
        handles.append(module.register_forward_hook(lambda *_: clock.leave()))
    try:
        yield clock.seconds
    finally:
        for handle in handles:
            handle.remove()


def part_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that belong to a different part than their parent."""
    parts = {"": OWN_WORK}
    for name, module in model.named_modules():
        if not name:
            continue
        parent = parts[name.rpartition(".")[0]]
        if isinstance(module, nn.ModuleList):  # never called itself
            parts[name] = parent
            continue
        parts[name] = part_name(model, name)
        if parts[name] != parent:
            yield name, module


class PartClock:
    """Attributes time to the innermost part that is running."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.running: list[str] = []
        self.since = 0.0

    def make_enter_hook(self, part: str) -> Callable[..., None]:
        """Make a hook that enters a part."""
        return lambda *_: self.enter(part)

    def enter(self, part: str) -> None:
        self._account()
        self.running.append(part)

    def leave(self) -> None:
        self._account()
        self.running.pop()

    def _account(self) -> None:
        """Attribute the time since the last border to the innermost part."""
        synchronize(self.device)
        now = time.perf_counter()
        if self.running:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now
