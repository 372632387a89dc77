"""Peak memory, and the memory that autograd keeps."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def measure_peak_memory(work: Callable[..., Any], *arguments: Any, device: torch.device) -> int:
    """Measure the peak memory of ``work(*arguments)`` in bytes.

    On a GPU: what PyTorch allocates beyond what was allocated before. On a CPU: the largest
    resident size of a fresh process that does nothing else, interpreter and libraries included.

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
        return pool.apply(_measure_resident_peak, (work, arguments))


def measure_kept_for_backward(model: nn.Module, forward: Callable[[], object]) -> int:
    """Measure the bytes that a forward pass saves for the backward pass, without weights.

    Under autocast, the weights' copies in the other dtype count, since the pass makes them.

    Args:
        model: its parameters and buffers are not counted.
        forward: runs the model with gradients enabled.
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


def _measure_resident_peak(work: Callable[..., Any], arguments: tuple) -> int:
    """Run the work and return this process's largest resident size in bytes.

    Raises:
        OSError: not on Linux, where /proc has the number. (getrusage reports the parent's size to a
            child.)
    """
    work(*arguments)
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "every process on Linux has a highest resident size"
    return int(found[1]) * 1024
