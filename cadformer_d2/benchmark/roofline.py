"""Seconds of counted kernels on a named card."""

from __future__ import annotations

from collections.abc import Iterable

from .cards import Card, peak_macs
from .kernels import Kernel

# Shares of the arithmetic of a large product that kernels of a class reach, and of the bandwidth of
# a large copy. Each is one number from the profile of one H200, for all sizes, and for forward and
# backward alike.
ARITHMETIC = {"convolution": 0.67, "matrix product": 0.75, "attention": 0.4}
# Something added to the scores is read for each of them, beside narrow heads' few multiply-adds.
MASKED_ATTENTION = 0.033
STREAMED = 0.85  # elements one after the other
GATHERED = 0.4  # sums over rows, tiles of products, rows from elsewhere
GATHERING = ("matrix product", "norm", "reduction", "index")
STRIDED = 0.2  # an element's neighbours on one side lie elsewhere on the other

KERNEL_SECONDS = 2e-6  # that the smallest kernel takes
HOST_SECONDS = 19e-6  # that Python, PyTorch and the driver take for a launch
HOST_LINK = 9e9  # bytes a second from pageable memory


def device_seconds(kernel: Kernel, card: Card) -> float:
    """max(arithmetic, memory) of one operator's kernels, and at least one launch each."""
    if kernel.host_bytes:
        return kernel.host_bytes / HOST_LINK
    share = MASKED_ATTENTION if kernel.has_mask else ARITHMETIC.get(kernel.kind, 1.0)
    if kernel.is_strided:
        speed = STRIDED
    else:
        speed = GATHERED if kernel.kind in GATHERING else STREAMED
    # Fewer blocks than processors leave some without work, and with it without memory to read.
    busy = min(1.0, (kernel.blocks or card.processors) / card.processors)
    arithmetic = kernel.macs / (peak_macs(card, kernel.dtype) * share * busy)
    memory = kernel.bytes / (card.bandwidth * speed * busy)
    return max(arithmetic, memory, kernel.launches * KERNEL_SECONDS)


def call_seconds(kernels: Iterable[Kernel], card: Card) -> float:
    """Seconds of kernels that run in sequence, none before the host has launched it."""
    launched = finished = 0.0
    for kernel in kernels:
        launched += kernel.launches * HOST_SECONDS
        # The first kernel of several starts when it is launched; the last cannot end before it is.
        begun = max(finished, launched - max(0, kernel.launches - 1) * HOST_SECONDS)
        finished = max(begun + device_seconds(kernel, card), launched)
        if kernel.host_bytes:  # a copy from pageable memory keeps the host until it is done
            launched = finished
    return finished
