"""The trainer: Detectron2's DefaultTrainer with this project's parts."""

from __future__ import annotations

import logging
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Sized
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.modeling import build_model
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from torch import nn
from torch.utils.data import DataLoader

from ..checkpoint import RefSegCheckpointer
from ..data.loading import DrawSampler, build_refseg_test_loader, build_refseg_train_loader
from ..evaluation import ReferringSegmentationEvaluator
from ..modeling.backbone import with_weights_record
from ..precision import autocast
from ..structures import ModelInput
from . import optimizer as optimizers
from .distributed import share_buffers, synchronize_batch_norms, wrap_distributed
from .output_folder import name_folder_in_errors
from .training_step import TrainingStep

logger = logging.getLogger(__name__)

BEST_METRIC = "referring_seg/oIoU"
# Keys for which -1 means: derive from the size of the training set.
DERIVED = (("SOLVER", "MAX_ITER"), ("SOLVER", "CHECKPOINT_PERIOD"), ("TEST", "EVAL_PERIOD"))


class RefSegTrainer(DefaultTrainer):
    """Trains, evaluates on DATASETS.VAL, and keeps the weights with the best oIoU there.

    To change a step, override it as in Detectron2: ``build_model``, ``build_optimizer``,
    ``build_lr_scheduler``, ``build_train_loader``, ``build_test_loader``, ``build_evaluator``,
    ``build_hooks``, ``build_writers``.

    ``model_best.pth`` holds weights and config, for evaluation; the numbered checkpoints and
    ``model_final.pth`` hold the optimiser as well, and --resume continues from the last of them.
    """

    def __init__(self, cfg: CfgNode):
        # Not DefaultTrainer's: its loop and its multi-process wrapper require a GPU.
        TrainerBase.__init__(self)
        cfg = scale_to_processes(with_weights_record(cfg))
        data_loader = self.build_train_loader(cfg)
        self.cfg = cfg = derive_iterations(cfg, num_refs=_num_refs(data_loader))
        model = self.build_model(cfg)
        if cfg.MODEL.SYNC_BATCH_NORM and comm.get_world_size() > 1:
            model = synchronize_batch_norms(model)
        if cfg.SOLVER.COMPILE:
            model.compile()
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = TrainingStep(
            model=wrap_distributed(model),
            data_loader=data_loader,
            optimizer=optimizer,
            device=torch.device(cfg.MODEL.DEVICE),
            dtype=cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32",
            max_grad_norm=_max_grad_norm(cfg),
            seed=cfg.SEED if cfg.SEED >= 0 else None,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = RefSegCheckpointer(
            model, cfg.OUTPUT_DIR, config=cfg, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """As DefaultTrainer's, and resume the data where the checkpoint stopped.

        The optimiser's state carries the rates and decays of its own config; this run's config
        overrides them. Other loaders and schedulers than this project's resume in their own way.
        """
        groups = self._trainer.optimizer.param_groups
        configured = [(group.get("initial_lr"), group["weight_decay"]) for group in groups]
        super().resume_or_load(resume=resume)
        if isinstance(self.scheduler, LRMultiplier):
            self.scheduler.base_lrs = [rate for rate, _ in configured]
            groups = self._trainer.optimizer.param_groups
            for group, (rate, decay), now in zip(
                groups, configured, self.scheduler.get_lr(), strict=True
            ):
                group.update(initial_lr=rate, weight_decay=decay, lr=now)
        sampler = getattr(self._trainer.data_loader, "sampler", None)
        if isinstance(sampler, DrawSampler):
            sampler.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH

    def build_hooks(self) -> list[HookBase | None]:
        """As DefaultTrainer's, but validate on DATASETS.VAL and keep the best oIoU's checkpoint."""
        cfg = self.cfg
        is_main = comm.is_main_process()
        chosen: list[HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if cfg.DATASETS.VAL and cfg.TEST.EVAL_PERIOD > 0:
            validate = hooks.EvalHook(cfg.TEST.EVAL_PERIOD, lambda: self.validate())
            chosen.append(validate)
            if is_main:
                best = RefSegCheckpointer(
                    self.model, cfg.OUTPUT_DIR, config=cfg, is_resumable=False
                )
                chosen.append(BestCheckpointer(cfg.TEST.EVAL_PERIOD, best, BEST_METRIC))
        if is_main:
            # After the evaluation, so that a checkpoint includes the best score so far.
            period = cfg.SOLVER.CHECKPOINT_PERIOD
            chosen.append(hooks.PeriodicCheckpointer(self.checkpointer, period, max_to_keep=3))
            chosen.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return chosen

    def train(self) -> Any:
        """As DefaultTrainer's.

        Raises:
            OSError: OUTPUT_DIR is not writable; the message names it.
        """
        with name_folder_in_errors(self.cfg.OUTPUT_DIR):
            return super().train()

    def after_train(self) -> None:
        """As DefaultTrainer's, but errors here do not hide the failure of a training."""
        failure = sys.exc_info()[1]
        try:
            super().after_train()
        except OSError:
            if failure is None:
                raise
            logger.debug("after the failure", exc_info=True)

    def validate(self) -> dict[str, Any]:
        """Evaluate on DATASETS.VAL; returns the metrics on the first, logs all."""
        share_buffers(self.model)
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATASETS.TEST = cfg.DATASETS.VAL
        cfg.freeze()
        self._last_eval_results = results = self.test(cfg, self.model)
        names = cfg.DATASETS.TEST
        return results if len(names) == 1 else results.get(names[0], {})

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return optimizers.build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        return optimizers.build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[ModelInput]]:
        """Endless batches. Anything but a DataLoader over a sized dataset needs a MAX_ITER."""
        return build_refseg_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        return build_refseg_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return ReferringSegmentationEvaluator(
            dataset_name=dataset_name,
            class_names=MetadataCatalog.get(dataset_name).thing_classes,
            output_dir=cfg.OUTPUT_DIR,
            empty_iou=cfg.TEST.EMPTY_IOU,
            eval_resolution=cfg.TEST.EVAL_RESOLUTION,
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> OrderedDict[str, Any]:
        """Evaluate a model on DATASETS.TEST, in TEST.DTYPE.

        Args:
            evaluators: one for each of DATASETS.TEST; None: those of ``build_evaluator``.

        Returns:
            the evaluator's result, or for several datasets results by name, as Detectron2 does;
            empty except on the main process.

        Raises:
            ValueError: the numbers of evaluators and datasets differ.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(
                f"{len(evaluators)} evaluators for {len(names)} datasets (DATASETS.TEST {names})"
            )
        results: OrderedDict[str, Any] = OrderedDict()
        for number, name in enumerate(names):
            loader = cls.build_test_loader(cfg, name)
            evaluator = evaluators[number] if evaluators else cls.build_evaluator(cfg, name)
            with autocast(torch.device(cfg.MODEL.DEVICE), cfg.TEST.DTYPE):
                result = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                results[name] = result
                print_csv_format(result)
        return results[names[0]] if len(results) == 1 else results


class BestCheckpointer(hooks.BestCheckpointer):
    """Detectron2's, remembering the best score over a resume."""

    def state_dict(self) -> dict[str, Any]:
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_metric = state_dict["best_metric"]
        self.best_iter = state_dict["best_iter"]


def scale_to_processes(cfg: CfgNode) -> CfgNode:
    """Apply DefaultTrainer.auto_scale_workers; -1 stays -1, to be derived later."""
    scaled = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
    if scaled is cfg:
        return cfg
    scaled.defrost()
    for section, key in DERIVED:
        if cfg[section][key] == -1:
            scaled[section][key] = -1
    scaled.freeze()
    return scaled


def _num_refs(data_loader: Any) -> int | None:
    """Number of refs of a training loader; None if unknown."""
    dataset = data_loader.dataset if isinstance(data_loader, DataLoader) else None
    return len(dataset) if isinstance(dataset, Sized) else None


def derive_iterations(cfg: CfgNode, *, num_refs: int | None) -> CfgNode:
    """Replace -1 in the config: MAX_ITER from NUM_EPOCHS, periods by one epoch.

    Args:
        num_refs: number of refs in the training set; None: unknown.

    Raises:
        ValueError: an invalid batch size, number of epochs or period, or a -1 that depends on an
            unknown number of refs.
    """
    for key in ("IMS_PER_BATCH", "NUM_EPOCHS"):
        if cfg.SOLVER[key] < 1:
            raise ValueError(f"SOLVER.{key} is {cfg.SOLVER[key]}; expected 1 or more")
    for key in ("CHECKPOINT_PERIOD", "MAX_ITER"):
        if cfg.SOLVER[key] < 1 and cfg.SOLVER[key] != -1:
            raise ValueError(f"SOLVER.{key} is {cfg.SOLVER[key]}; expected 1 or more, or -1")
    cfg = cfg.clone()
    cfg.defrost()
    if num_refs is None:
        for section, key in DERIVED:
            if cfg[section][key] == -1:
                raise ValueError(
                    f"{section}.{key} is -1, but the length of the training loader is unknown"
                )
        cfg.freeze()
        return cfg
    per_epoch = max(1, round(num_refs / cfg.SOLVER.IMS_PER_BATCH))
    if cfg.SOLVER.MAX_ITER == -1:
        cfg.SOLVER.MAX_ITER = cfg.SOLVER.NUM_EPOCHS * per_epoch
    if cfg.SOLVER.CHECKPOINT_PERIOD == -1:
        cfg.SOLVER.CHECKPOINT_PERIOD = per_epoch
    if cfg.TEST.EVAL_PERIOD == -1:
        cfg.TEST.EVAL_PERIOD = per_epoch
    logger.info(
        "%d refs at %d a batch: %d iterations an epoch, %d in all",
        num_refs,
        cfg.SOLVER.IMS_PER_BATCH,
        per_epoch,
        cfg.SOLVER.MAX_ITER,
    )
    cfg.freeze()
    return cfg


def _max_grad_norm(cfg: CfgNode) -> float | None:
    """The limit of SOLVER.CLIP_GRADIENTS on the whole model's gradient norm; None: off.

    Raises:
        ValueError: another type of clipping is configured for.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    if clip.CLIP_TYPE != "full_model" or clip.NORM_TYPE != 2.0:
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE!r} with NORM_TYPE "
            f"{clip.NORM_TYPE}; known: full_model with 2.0"
        )
    return clip.CLIP_VALUE
