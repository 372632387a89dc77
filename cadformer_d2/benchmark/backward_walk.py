"""A backward pass without PyTorch's engine, which needs a CUDA driver for tensors on "cuda"."""

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
        visit: called with each node of the graph before it runs.
    """
    with patch.object(Tensor, "backward", lambda loss: _walk(loss, visit)):
        yield


@torch.no_grad()
def _walk(loss: Tensor, visit: Callable[[Any], None]) -> None:
    """Accumulate the gradients of all leaves into their ``grad``."""
    waiting = _count_consumers(loss.grad_fn)
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[loss.grad_fn][loss.output_nr] = torch.ones_like(loss)
    ready: list[Any] = [loss.grad_fn]
    while ready:
        # Latest first, as the engine does.
        ready.sort(key=lambda node: node._sequence_nr())
        node = ready.pop()
        visit(node)
        made = _run_node(node, gradients.pop(node, {}))
        for (following, place), gradient in zip(node.next_functions, made, strict=False):
            if following is None:
                continue
            if gradient is not None:
                _add_to(gradients[following], place, _fit_gradient(gradient, following, place))
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)


def _count_consumers(root: Any) -> dict[Any, int]:
    """Count the gradients that each node of a graph waits for."""
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


def _run_node(node: Any, gradients: dict[int, Tensor]) -> tuple[Tensor | None, ...]:
    """Compute the gradients of a node's inputs from those of its outputs."""
    if not gradients:
        return (None,) * len(node.next_functions)
    if hasattr(node, "variable"):
        _accumulate(node.variable, gradients[0])
        return ()
    given = [gradients.get(place) for place in range(len(node._input_metadata))]
    # Functions written in Python are run by another method than PyTorch's own.
    run = node.apply if hasattr(node, "apply") else node
    made = run(*given)
    return made if isinstance(made, tuple) else (made,)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    """Add to a leaf's gradient; keep the first as it is if its strides match the leaf's."""
    if leaf.grad is not None:
        leaf.grad.add_(gradient)
    elif gradient.stride() == leaf.stride():
        leaf.grad = gradient
    else:
        leaf.grad = torch.empty_like(leaf).copy_(gradient)


def _add_to(gradients: dict[int, Tensor], place: int, gradient: Tensor) -> None:
    gradients[place] = gradients[place] + gradient if place in gradients else gradient


def _fit_gradient(gradient: Tensor, node: Any, place: int) -> Tensor:
    """Convert a gradient to the shape and dtype of the tensor it belongs to."""
    of = node._input_metadata[place]
    if tuple(gradient.shape) != tuple(of.shape):
        gradient = gradient.sum_to_size(of.shape)
    return gradient if gradient.dtype == of.dtype else gradient.to(of.dtype)
