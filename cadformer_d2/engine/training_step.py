"""One training iteration: mixed precision, clipping, determinism, a check of the losses."""

from __future__ import annotations

import time
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import nn

from ..precision import autocast
from ..structures import ModelInput
from .host_losses import HostLosses


class TrainingStep(SimpleTrainer):
    """Detectron2's SimpleTrainer with mixed precision, clipping and per-step seeds."""

    def __init__(
        self,
        *,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        dtype: str,
        max_grad_norm: float | None,
        seed: int | None,
    ):
        """
        Args:
            model: returns a dict of losses in training.
            data_loader: endless batches.
            optimizer: of the model's parameters.
            device: the model's.
            dtype: name of the mixed precision dtype; "float32": none.
            max_grad_norm: limit to which the gradient norm is clipped; None: no clipping.
            seed: iteration t of rank r draws its dropout from (seed, t, r), so that a resumed run
                equals an uninterrupted one. None: not reproducible.
        """
        super().__init__(model, data_loader, optimizer)
        self.device = device
        self.dtype = dtype
        self.max_grad_norm = max_grad_norm
        self.seed = seed
        # float16 underflows without a scale; bfloat16 has float32's range.
        self.grad_scaler = torch.amp.GradScaler(device.type, enabled=dtype == "float16")

    def run_step(self) -> None:
        """
        Raises:
            FloatingPointError: a loss is not finite; the message names the samples.
        """
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        if self.seed is not None:
            torch.manual_seed(_step_seed(self.seed, iteration=self.iter, rank=comm.get_rank()))
        self.optimizer.zero_grad()
        with autocast(self.device, self.dtype):
            losses = self.model(batch)
        on_host = HostLosses(losses)
        self.grad_scaler.scale(sum(losses.values())).backward()
        self.after_backward()
        # Between backward and optimizer: nothing has changed yet, and the GPU is busy with the
        # backward pass.
        losses = on_host.read()
        self._refuse_non_finite(losses, batch)
        self.grad_scaler.unscale_(self.optimizer)
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _refuse_non_finite(self, losses: dict[str, torch.Tensor], batch: list[ModelInput]) -> None:
        """
        Args:
            losses: scalars on the host.

        Raises:
            FloatingPointError: their sum is not finite; the message names the samples.
        """
        if torch.stack(list(losses.values())).sum().isfinite():
            return
        values = {name: loss.item() for name, loss in losses.items()}
        samples = "; ".join(
            f"{sample['file_name']} (ref {sample['ref_id']}, sentence {sample['sent_id']})"
            for sample in batch
        )
        raise FloatingPointError(
            f"the loss became {values} at iteration {self.iter}, on {samples}. Checkpoints hold "
            "finite weights only: lower SOLVER.BASE_LR and continue from the last with --resume, "
            "or inspect these samples"
        )

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _step_seed(seed: int, *, iteration: int, rank: int) -> int:
    """The random seed of one iteration of one process."""
    mixed = seed * 0x9E3779B1 + iteration * 0x85EBCA77 + rank * 0xC2B2AE3D
    return mixed & 0x7FFFFFFF
