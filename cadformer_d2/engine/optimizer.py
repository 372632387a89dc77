"""AdamW and its schedule."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.AdamW:
    """AdamW (betas 0.9, 0.999) over all trainable parameters.

    The text encoder has its own factor on the learning rate (1 by default); norms, biases and
    relative position tables have their own weight decay (0 by default).
    """
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        lr_factor_func=lambda name: (
            cfg.SOLVER.TEXT_ENCODER_LR_FACTOR if name.startswith("text_encoder.") else 1.0
        ),
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        # Detectron2 knows a bias by the name "bias"; attention layers of torch have another.
        overrides={
            "relative_position_bias_table": {"weight_decay": cfg.SOLVER.WEIGHT_DECAY_NORM},
            "in_proj_bias": {"weight_decay": cfg.SOLVER.WEIGHT_DECAY_BIAS},
        },
    )
    return torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, fused=True)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """lr_t = BASE_LR (1 - t / MAX_ITER)^POLY_POWER every iteration, after a linear warm-up.

    Raises:
        ValueError: another scheduler is asked for, or the warm-up is longer than the training.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "PolynomialLR":
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME is {solver.LR_SCHEDULER_NAME!r}; known: PolynomialLR"
        )
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        raise ValueError(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, but training ends after "
            f"{solver.MAX_ITER} iterations"
        )
    decay = PolynomialDecayParamScheduler(base_value=1, power=solver.POLY_POWER)
    warmed = WarmupParamScheduler(
        decay, solver.WARMUP_FACTOR, solver.WARMUP_ITERS / solver.MAX_ITER, solver.WARMUP_METHOD
    )
    return LRMultiplier(optimizer, warmed, max_iter=solver.MAX_ITER)
