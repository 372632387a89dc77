"""How far an exported file's answers are from the model's own, on a dataset's samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

# Pixels (B, 3, H, W) and fields (B, T) of the expressions -> probabilities (B, 2, H, W), ...
GraphFunction = Callable[..., Sequence[Any]]


@dataclass
class Agreement:
    """Of one function with another, over all batches that were added."""

    largest_difference: float = 0.0  # of a probability
    num_differing: int = 0  # pixels of the masks
    num_pixels: int = 0
    seconds: list[float] = field(default_factory=list)  # of a sample, one entry a batch

    def add(self, found: np.ndarray, wanted: np.ndarray, *, seconds: float) -> None:
        """
        Args:
            found, wanted: probabilities (B, 2, H, W) of background and target.
            seconds: that ``found`` took.
        """
        difference = float(np.abs(found - wanted).max())
        self.largest_difference = max(self.largest_difference, difference)
        masks = [values[:, 1] > values[:, 0] for values in (found, wanted)]
        self.num_differing += int((masks[0] != masks[1]).sum())
        self.num_pixels += masks[0].size
        self.seconds.append(seconds / len(found))


@torch.no_grad()
def compare_functions(
    functions: dict[str, GraphFunction],
    batches: Iterable[list[dict[str, Any]]],
    *,
    reads: Sequence[str],
    num_tokens: int | None = None,
    observe: Callable[[str, list[dict[str, Any]], np.ndarray], None] | None = None,
) -> dict[str, Agreement]:
    """Give every function the same batches, in turns, and compare with the first function.

    Args:
        functions: by name.
        batches: of samples with "image" and the fields in ``reads``.
        reads: fields of an expression, in the functions' order.
        num_tokens: of every expression, padded or truncated; None: of the batch's longest.
        observe: is given a function's name, the batch and the probabilities.

    Returns:
        for each function its agreement with the first.
    """
    agreements = {name: Agreement() for name in functions}
    for batch in batches:
        inputs = stack_inputs(batch, reads, num_tokens)
        wanted = None
        for name, function in functions.items():
            start = time.perf_counter()
            found = np.asarray(function(*inputs)[0])
            seconds = time.perf_counter() - start
            wanted = found if wanted is None else wanted
            agreements[name].add(found, wanted, seconds=seconds)
            if observe:
                observe(name, batch, found)
    return agreements


def stack_inputs(
    batch: list[dict[str, Any]], reads: Sequence[str], num_tokens: int | None = None
) -> list[Tensor]:
    """Samples as a graph's inputs; args as ``compare_functions``."""
    length = num_tokens or max((len(sample[name]) for sample in batch for name in reads), default=0)
    fields = [
        torch.stack([pad(sample[name], (0, length - len(sample[name]))) for sample in batch])
        for name in reads
    ]
    return [torch.stack([sample["image"] for sample in batch]), *fields]
