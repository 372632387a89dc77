"""Which part of the model an operator belongs to, forward and backward."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..model_cost import OWN_WORK, part_name
from .components import part_modules


class RunningPart:
    """Follows the innermost part through a forward pass, and again through its backward pass.

    Nodes of the backward graph are numbered as they are made, so that a node's number tells where
    in the forward pass it was made.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.stack = [OWN_WORK]
        self.borders: list[tuple[int, str]] = []  # first number and part
        self.current = OWN_WORK

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Follow the forward pass within the context."""
        handles = []
        for name, module in part_modules(self.model):
            part = part_name(self.model, name)
            handles.append(module.register_forward_pre_hook(lambda *_, part=part: self.enter(part)))
            handles.append(module.register_forward_hook(lambda *_: self.leave()))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, part: str) -> None:
        self.stack.append(part)
        self._mark()

    def leave(self) -> None:
        self.stack.pop()
        self._mark()

    def _mark(self) -> None:
        self.current = self.stack[-1]
        self.borders.append((torch._C._autograd._get_sequence_nr(), self.current))

    def visit(self, node: Any) -> None:
        """Set the current part from the node of the backward graph that runs next."""
        number = node._sequence_nr()
        place = bisect_right(self.borders, number, key=lambda border: border[0]) - 1
        self.current = self.borders[place][1] if place >= 0 else OWN_WORK
