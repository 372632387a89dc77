"""AdamW and its schedule."""

from __future__ import annotations

from typing import cast

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from detectron2.solver.build import get_default_optimizer_params
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn

from ..modeling.backbone.text_aware import TextAwareBackbone

# Schedules by name, each with the keys of Detectron2 that it reads besides those of the warm-up.
# Detectron2's fourth, WarmupStepWithFixedGammaLR, fails at the end of every training.
SCHEDULES: dict[str, tuple[str, ...]] = {
    "PolynomialLR": (),
    "WarmupCosineLR": ("SOLVER.BASE_LR_END", "SOLVER.RESCALE_INTERVAL"),
    "WarmupMultiStepLR": ("SOLVER.STEPS", "SOLVER.GAMMA", "SOLVER.RESCALE_INTERVAL"),
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.AdamW:
    """AdamW (betas 0.9, 0.999) over all trainable parameters.

    The text encoder and the backbone's network have their own factors on the learning rate (1 by
    default); norms, biases and relative position tables have their own weight decay (0 by default).
    """
    factors = {"text_encoder.": cfg.SOLVER.TEXT_ENCODER_LR_FACTOR}
    factors |= dict.fromkeys(_network_names(model), cfg.SOLVER.BACKBONE_LR_FACTOR)
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        lr_factor_func=lambda name: next(
            (factor for prefix, factor in factors.items() if name.startswith(prefix)), 1.0
        ),
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        # Detectron2 recognises biases by the name "bias"; torch's attention layers use another.
        overrides={
            "relative_position_bias_table": {"weight_decay": cfg.SOLVER.WEIGHT_DECAY_NORM},
            "in_proj_bias": {"weight_decay": cfg.SOLVER.WEIGHT_DECAY_BIAS},
        },
    )
    return torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, fused=True)


def _network_names(model: nn.Module) -> list[str]:
    """Names of the backbone's network: of what pre-trained weights are for, without alignments."""
    backbone = cast(TextAwareBackbone, model.backbone)
    network = set(backbone.network_modules(len(backbone.shapes)))
    return [f"{name}." for name, module in model.named_modules() if module in network]


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRMultiplier:
    """The schedule named by SOLVER.LR_SCHEDULER_NAME, after a linear warm-up.

    "PolynomialLR": lr_t = BASE_LR (1 - t / MAX_ITER)^POLY_POWER every iteration. The others are
    Detectron2's own.

    Raises:
        ValueError: an unknown name, or a value out of the schedule's range.
    """
    solver = cfg.SOLVER
    name = solver.LR_SCHEDULER_NAME
    if name not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ValueError(f"SOLVER.LR_SCHEDULER_NAME is {name!r}; known names: {known}")
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        raise ValueError(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, but training ends after "
            f"{solver.MAX_ITER} iterations"
        )
    if name == "PolynomialLR":
        decay = PolynomialDecayParamScheduler(base_value=1, power=solver.POLY_POWER)
        warmed = WarmupParamScheduler(
            decay, solver.WARMUP_FACTOR, solver.WARMUP_ITERS / solver.MAX_ITER, solver.WARMUP_METHOD
        )
        return LRMultiplier(optimizer, warmed, max_iter=solver.MAX_ITER)
    if name == "WarmupCosineLR" and not 0 <= solver.BASE_LR_END <= solver.BASE_LR:
        raise ValueError(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END}; expected: 0 to SOLVER.BASE_LR "
            f"({solver.BASE_LR})"
        )
    return build_detectron2_scheduler(cfg, optimizer)
