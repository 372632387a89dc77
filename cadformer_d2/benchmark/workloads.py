"""Workloads to measure: forward pass, training step, loader, evaluation."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..data.loading import build_refseg_train_loader
from ..engine.optimizer import build_optimizer
from ..engine.trainer import RefSegTrainer
from ..model_cost import random_sample
from ..modeling import CADFormer
from ..precision import autocast
from ..structures import ModelInput


def random_batch(cfg: CfgNode, *, batch_size: int, num_tokens: int) -> list[ModelInput]:
    """Samples of noise at INPUT.SIZE."""
    return [random_sample(cfg, num_tokens) for _ in range(batch_size)]


def forward_pass(model: CADFormer, batch: list[ModelInput], dtype: str) -> Callable[[], object]:
    """A call that runs the model in evaluation mode, under autocast unless dtype is float32."""

    def call() -> object:
        with torch.inference_mode(), autocast(model.device, dtype):
            return model.eval()(batch)

    return call


def training_losses(
    model: CADFormer, batch: list[ModelInput], dtype: str
) -> Callable[[], dict[str, Tensor]]:
    """A call that runs the forward pass of training."""

    def call() -> dict[str, Tensor]:
        with autocast(model.device, dtype):
            return model.train()(batch)

    return call


def training_step(
    model: CADFormer, batch: list[ModelInput], dtype: str, optimizer: torch.optim.Optimizer
) -> Callable[[], None]:
    """A call that runs forward, backward and the optimizer."""

    losses = training_losses(model, batch, dtype)

    def call() -> None:
        optimizer.zero_grad()
        torch.stack(list(losses().values())).sum().backward()
        optimizer.step()

    return call


def train_once(cfg: CfgNode, batch_size: int, num_tokens: int, dtype: str) -> None:
    """Two training steps from a fresh model, for measuring memory."""
    model = build_model(cfg)
    batch = random_batch(cfg, batch_size=batch_size, num_tokens=num_tokens)
    step = training_step(model, batch, dtype, build_optimizer(cfg, model))
    step()
    step()


def infer_once(cfg: CfgNode, batch_size: int, num_tokens: int, dtype: str) -> None:
    """One forward pass of a fresh model, for measuring memory."""
    batch = random_batch(cfg, batch_size=batch_size, num_tokens=num_tokens)
    forward_pass(build_model(cfg), batch, dtype)()


def measure_loader_rate(cfg: CfgNode, *, num_batches: int) -> float:
    """Measure the training samples per second of DATASETS.TRAIN, without a model.

    The first batches, which wait for the workers to start, do not count.
    """
    loader = build_refseg_train_loader(cfg, seed=0)
    # Workers prefetch batches; those arrive without waiting.
    ahead = 2 * max(1, cfg.DATALOADER.NUM_WORKERS)
    batches = iter(loader)
    for _ in itertools.islice(batches, ahead):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(batches, num_batches):
        pass
    return num_batches * cfg.SOLVER.IMS_PER_BATCH / (time.perf_counter() - start)


def measure_evaluation_rate(cfg: CfgNode, model: CADFormer) -> float:
    """Measure the samples per second of a whole evaluation on the first of DATASETS.TEST."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = cfg.DATASETS.TEST[:1]
    with TemporaryDirectory() as cfg.OUTPUT_DIR:  # not among the scores of trained models
        start = time.perf_counter()
        result = RefSegTrainer.test(cfg, model)
        return result["referring_seg"]["num_samples"] / (time.perf_counter() - start)
