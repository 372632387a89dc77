"""A backward pass without PyTorch's engine, which wants a CUDA driver for tensors on "cuda"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor


@contextmanager
def backward_in_python(visit: Callable[[Any], None] = lambda node: None) -> Iterator[None]:
    """Within the context ``Tensor.backward`` walks through the graph in Python.

    The same operators run as in the engine, with its sums and casts between nodes; hooks do not.

    Args:
        visit: is told every node of the graph before it runs.
    """
    with patch.object(Tensor, "backward", lambda loss: walk(loss, visit)):
        yield


@torch.no_grad()
def walk(loss: Tensor, visit: Callable[[Any], None]) -> None:
    """Gradients of all leaves into their ``grad``."""
    waiting = consumers(loss.grad_fn)
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[loss.grad_fn][loss.output_nr] = torch.ones_like(loss)
    ready: list[Any] = [loss.grad_fn]
    while ready:
        # Latest first, as the engine does.
        ready.sort(key=lambda node: node._sequence_nr())
        node = ready.pop()
        visit(node)
        made = results(node, gradients.pop(node, {}))
        for (following, place), gradient in zip(node.next_functions, made, strict=False):
            if following is None:
                continue
            if gradient is not None:
                add_to(gradients[following], place, fitted(gradient, following, place))
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)


def consumers(root: Any) -> dict[Any, int]:
    """How many gradients every node of a graph waits for."""
    waiting: dict[Any, int] = defaultdict(int)
    seen, ahead = {root}, [root]
    while ahead:
        for following, _ in ahead.pop().next_functions:
            if following is None:
                continue
            waiting[following] += 1
            if following not in seen:
                seen.add(following)
                ahead.append(following)
    return waiting


def results(node: Any, gradients: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of a node's inputs from those of its outputs."""
    if not gradients:
        return (None,) * len(node.next_functions)
    if hasattr(node, "variable"):
        keep(node.variable, gradients[0])
        return ()
    given = [gradients.get(place) for place in range(len(node._input_metadata))]
    # Functions written in Python are run by another method than PyTorch's own.
    run = node.apply if hasattr(node, "apply") else node
    made = run(*given)
    return made if isinstance(made, tuple) else (made,)


def keep(leaf: Tensor, gradient: Tensor) -> None:
    """Add to a leaf's gradient; the first is taken as it is where it lies as the leaf does."""
    if leaf.grad is not None:
        leaf.grad.add_(gradient)
    elif gradient.stride() == leaf.stride():
        leaf.grad = gradient
    else:
        leaf.grad = torch.empty_like(leaf).copy_(gradient)


def add_to(gradients: dict[int, Tensor], place: int, gradient: Tensor) -> None:
    gradients[place] = gradients[place] + gradient if place in gradients else gradient


def fitted(gradient: Tensor, node: Any, place: int) -> Tensor:
    """In the shape and number format of what it is the gradient of."""
    of = node._input_metadata[place]
    if tuple(gradient.shape) != tuple(of.shape):
        gradient = gradient.sum_to_size(of.shape)
    return gradient if gradient.dtype == of.dtype else gradient.to(of.dtype)
