"""Losses on their way from the device to the host."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class HostLosses:
    """Copies a step's losses to the host, behind the forward pass in the GPU's queue.

    Reading them waits for the forward pass only. Ask after the backward pass has been queued: the
    GPU then has work while the host looks.
    """

    def __init__(self, losses: Mapping[str, Tensor]):
        """
        Args:
            losses: scalars by name, on the device.
        """
        self.names = tuple(losses)
        self.values = torch.stack([loss.detach().float() for loss in losses.values()])
        self.arrival = None
        if self.values.is_cuda:
            # Only a copy to pinned memory runs beside the host.
            on_host = torch.empty(self.values.shape, pin_memory=True)
            self.values = on_host.copy_(self.values, non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> dict[str, Tensor]:
        """The losses by name, as scalars on the host."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return dict(zip(self.names, self.values, strict=True))
