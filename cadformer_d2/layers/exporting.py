"""Whether operators are being recorded as a graph."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Whether torch.export records a graph that will run with other batch sizes."""
    # torch before 2.7 does not tell exporting from compiling.
    ask = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return ask()


def is_recording_graph() -> bool:
    """Whether operators are counted or exported: a convolution has to stay one operator."""
    return torch.jit.is_tracing() or is_exporting()
