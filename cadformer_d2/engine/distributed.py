"""Models in several processes."""

from __future__ import annotations

import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def wrap_distributed(model: nn.Module) -> nn.Module:
    """Wrap the model for several processes; return it unchanged for one.

    Detectron2 0.6's own wrapper passes device ids, which fails for processes on a CPU.
    """
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    device_ids = [comm.get_local_rank()] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False)


def share_buffers(model: nn.Module) -> None:
    """Copy the main process's running statistics, which checkpoints hold, to all processes.

    Norms that are not synchronised differ between processes.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def synchronize_batch_norms(model: nn.Module) -> nn.Module:
    """Make batch norms see the samples of all processes; weights and names do not change.

    Args:
        model: every process has to train it with the same batch size.

    Raises:
        ValueError: a batch norm over one-dimensional maps, on a CPU.
    """
    if next(model.parameters()).device.type != "cpu":
        from timm.layers import convert_sync_batchnorm  # PyTorch's drops timm's activations

        return convert_sync_batchnorm(model)
    # PyTorch has no synchronised norm for CPUs; Detectron2's slower one works everywhere.
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm1d):
            raise ValueError(
                f"{name} is a one-dimensional batch norm, which a CPU cannot synchronise; "
                "set MODEL.SYNC_BATCH_NORM False"
            )
        for child_name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, child_name, SyncBatchNormOnCPU(child))
    return model


class SyncBatchNormOnCPU(NaiveSyncBatchNorm):
    """Detectron2's, always in float32: bfloat16 is too coarse for variances."""

    def __init__(self, plain: nn.BatchNorm2d):
        """
        Args:
            plain: the norm whose weights, statistics and activation (timm's norms have one) are
                kept.
        """
        assert plain.momentum is not None, "cumulative averages are not supported"
        super().__init__(plain.num_features, eps=plain.eps, momentum=plain.momentum)
        self.load_state_dict(plain.state_dict())
        self.weight.requires_grad_(plain.weight.requires_grad)
        self.bias.requires_grad_(plain.bias.requires_grad)
        activation = getattr(plain, "act", None)
        self.act = activation if isinstance(activation, nn.Module) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x.float()).to(x.dtype))
