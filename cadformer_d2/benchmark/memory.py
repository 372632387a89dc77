"""The most memory that something needed."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def peak_memory(work: Callable[..., Any], *arguments: Any, device: torch.device) -> int:
    """Bytes that ``work(*arguments)`` needed at most.

    On a GPU what PyTorch held there beyond what it held before; on a CPU the largest resident size
    of a fresh process that does nothing else, the interpreter and libraries included.

    Args:
        work: importable by name, as are its arguments: it runs in another process on a CPU.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work(*arguments)
        return torch.cuda.max_memory_allocated(device) - before
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(resident_peak, (work, arguments))


def kept_for_backward(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that autograd keeps from a forward pass for the backward pass, weights not counted.

    Under autocast the weights' copies in the other format are, since they are made for the pass.

    Args:
        model: whose parameters and buffers are there anyway.
        forward: runs it, with gradients.
    """
    kept: dict[int, int] = {}  # bytes by storage: several operators may keep one tensor

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        result = forward()  # held, so that nothing kept is freed and its address used again
    for own in (*model.parameters(), *model.buffers()):
        kept.pop(own.untyped_storage().data_ptr(), None)
    del result
    return sum(kept.values())


def resident_peak(work: Callable[..., Any], arguments: tuple) -> int:
    """Bytes of this process's largest resident size once the work is done.

    Raises:
        OSError: no Linux, whose /proc says it. (getrusage would tell a child its parent's size.)
    """
    work(*arguments)
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "every process on Linux has a highest resident size"
    return int(found[1]) * 1024
