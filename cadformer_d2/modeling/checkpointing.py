"""Activation checkpointing: less memory in training for a second forward pass of chosen parts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

# Modules that are recomputed as a whole, by the component that a user names.
RECOMPUTED = {
    "text_encoder": r"text_encoder\.bert\.encoder\.layer\.\d+",
    "backbone": r"backbone\.stages\.\d+\.blocks\.\d+",
    "alignment": r"backbone\.alignments\.\d+",
    "neck": r"neck",
    "decoder": r"decoder\.(fusions|text_layers)\.\d+",
}


class Recomputed:
    """Mixed in before a module's class: its inner activations are not kept but computed again."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        call = functools.partial(super().forward, **options)
        if not (self.training and torch.is_grad_enabled()):
            return call(*inputs)
        return checkpoint(
            call,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), unchanged_statistics(self)),
        )


def recompute_activations(model: nn.Module, components: tuple[str, ...]) -> None:
    """Let modules of the named components recompute their activations; weights keep their names.

    Args:
        model: a CADFormer; changed in place.
        components: of ``RECOMPUTED``.

    Raises:
        ValueError: an unknown component.
    """
    unknown = [name for name in components if name not in RECOMPUTED]
    if unknown:
        raise ValueError(
            f"MODEL.CHECKPOINT_ACTIVATIONS has {', '.join(map(repr, unknown))}; known: "
            f"{', '.join(RECOMPUTED)}"
        )
    patterns = [RECOMPUTED[name] for name in components]
    for name, module in model.named_modules():
        if any(re.fullmatch(pattern, name) for pattern in patterns):
            cls = type(module)
            module.__class__ = type(cls.__name__, (Recomputed, cls), {})


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context batch norms leave their running statistics alone.

    The second forward pass would count the batch twice.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # A counter of its own: synchronised norms refuse to be without one.
        norm.momentum, norm.num_batches_tracked = 0.0, norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
