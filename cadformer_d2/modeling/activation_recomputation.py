"""Activation recomputation: chosen parts run forward twice in training to save memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

COMPONENTS = ("text_encoder", "backbone", "alignment", "neck", "decoder", "presence")


class RecomputedForward:
    """A module's ``forward`` that recomputes its activations instead of keeping them."""

    def __init__(self, module: nn.Module):
        """
        Args:
            module: its ``forward`` is called.
        """
        self.module = module
        self.forward = module.forward

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        call = functools.partial(self.forward, **options)
        if not (self.module.training and torch.is_grad_enabled()):
            return call(*inputs)
        return checkpoint(
            call,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _freeze_running_statistics(self.module)),
        )


def is_recomputed(module: nn.Module) -> bool:
    return isinstance(module.forward, RecomputedForward)


def recompute_activations(
    modules: Mapping[str, Sequence[nn.Module]], components: Sequence[str]
) -> None:
    """Make the named components recompute their activations; weights keep their names.

    Args:
        modules: by component of the model; those of the named components are changed in place.
        components: of ``COMPONENTS``.

    Raises:
        ValueError: an unknown component, or one with nothing to recompute.
    """
    for component in components:
        if component not in COMPONENTS:
            raise ValueError(
                f"MODEL.CHECKPOINT_ACTIVATIONS has {component!r}; known: {', '.join(COMPONENTS)}"
            )
        if not modules.get(component):
            raise ValueError(
                f"MODEL.CHECKPOINT_ACTIVATIONS has {component!r}, but this model has no such "
                "component, or nothing to recompute in it; leave it out"
            )
        for module in modules[component]:
            module.forward = RecomputedForward(module)  # type: ignore[method-assign]


@contextmanager
def _freeze_running_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context, batch norms do not update their running statistics.

    The second forward pass would count the batch twice.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, kept, strict=True):
        norm.momentum = 0.0
        if count is not None:  # a copy: synchronised norms need one
            norm.num_batches_tracked = count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
