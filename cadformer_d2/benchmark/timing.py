"""Repeated timing of calls, and the peak throughput of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}  # far beyond any cache


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls of one function."""

    median: float
    low: float  # 25th percentile
    high: float  # 75th percentile
    repeats: int


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its queue; a no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(
    calls: Mapping[str, Callable[[], object]],
    *,
    device: torch.device,
    repeats: int,
    warm_up: int = 2,
) -> dict[str, Timing]:
    """Time several calls in turns, so that load on the machine slows all of them alike.

    Args:
        calls: by name.
        repeats: timed calls of each.
        warm_up: calls of each beforehand that are not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warm_up + repeats):
        for name, call in calls.items():
            synchronize(device)
            start = time.perf_counter()
            call()
            synchronize(device)
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: _summarize(values) for name, values in seconds.items()}


def _summarize(seconds: list[float]) -> Timing:
    low, median, high = (float(value) for value in np.percentile(seconds, [25, 50, 75]))
    return Timing(median=median, low=low, high=high, repeats=len(seconds))


def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the multiply-adds per second of a large matrix product."""
    side = MATRIX_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    timing = time_calls({"product": lambda: left @ right}, device=device, repeats=5)["product"]
    return side**3 / timing.median


def measure_peak_bandwidth(device: torch.device) -> float:
    """Measure the bytes per second, reads and writes together, of a large copy."""
    source = torch.empty(COPIED_BYTES[device.type], dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    timing = time_calls({"copy": lambda: target.copy_(source)}, device=device, repeats=5)["copy"]
    return 2 * source.numel() / timing.median
