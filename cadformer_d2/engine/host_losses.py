"""Asynchronous copies of losses from the device to the host."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class HostLosses:
    """Copies a step's losses to the host, behind the forward pass in the GPU's queue.

    Reading them waits only for the forward pass. Read after queueing the backward pass, so that the
    GPU has work meanwhile.
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
            # Only copies to pinned memory run asynchronously.
            on_host = torch.empty(self.values.shape, pin_memory=True)
            self.values = on_host.copy_(self.values, non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> dict[str, Tensor]:
        """The losses by name, as scalars on the host."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return dict(zip(self.names, self.values, strict=True))
