"""Checks of a config before hours of training, rather than errors after them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

from detectron2.config import CfgNode, get_cfg

from ..data.catalog import refuse_unknown
from ..data.tokenization import build_tokenizer
from ..evaluation.refseg_evaluator import TASK
from ..modeling.text_encoder import text_vocabulary_size
from ..precision import DTYPES, refuse_unusable_format, resolve_device
from .optimizer import SCHEDULES

# Detectron2's keys that this project reads; its others have no effect here.
WITH_EFFECT = frozenset(
    """
    CUDNN_BENCHMARK DATALOADER.NUM_WORKERS DATASETS.TEST DATASETS.TRAIN INPUT.FORMAT
    MODEL.BACKBONE.NAME MODEL.DEVICE MODEL.META_ARCHITECTURE MODEL.PIXEL_MEAN MODEL.PIXEL_STD
    MODEL.WEIGHTS OUTPUT_DIR SEED SOLVER.AMP.ENABLED SOLVER.BASE_LR SOLVER.CHECKPOINT_PERIOD
    SOLVER.CLIP_GRADIENTS.CLIP_TYPE SOLVER.CLIP_GRADIENTS.CLIP_VALUE SOLVER.CLIP_GRADIENTS.ENABLED
    SOLVER.CLIP_GRADIENTS.NORM_TYPE SOLVER.IMS_PER_BATCH SOLVER.LR_SCHEDULER_NAME SOLVER.MAX_ITER
    SOLVER.REFERENCE_WORLD_SIZE SOLVER.WARMUP_FACTOR SOLVER.WARMUP_ITERS SOLVER.WARMUP_METHOD
    SOLVER.WEIGHT_DECAY SOLVER.WEIGHT_DECAY_BIAS SOLVER.WEIGHT_DECAY_NORM TEST.EVAL_PERIOD
    TEST.EXPECTED_RESULTS
    """.split()
)
# Values of the others, besides their defaults, that describe what happens here anyway.
TRUE_ANYWAY = {
    "DATALOADER.ASPECT_RATIO_GROUPING": False,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    "INPUT.MASK_FORMAT": "bitmask",
    "INPUT.RANDOM_FLIP": "none",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "SOLVER.STEPS": (),
}
# What to use instead of a key, or section, without effect.
INSTEAD = {
    "DATALOADER.ASPECT_RATIO_GROUPING": "all samples have INPUT.SIZE",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "see DATASETS.LENIENT",
    "INPUT.MAX_SIZE_TEST": "see INPUT.SIZE",
    "INPUT.MAX_SIZE_TRAIN": "see INPUT.SIZE",
    "INPUT.MIN_SIZE_TEST": "see INPUT.SIZE",
    "INPUT.MIN_SIZE_TRAIN": "see INPUT.SIZE",
    "INPUT.RANDOM_FLIP": "see INPUT.AUGMENTATIONS",
    "MODEL.BACKBONE.FREEZE_AT": "see MODEL.BACKBONE.FROZEN_STAGES",
    "SOLVER.BASE_LR_END": "only WarmupCosineLR of SOLVER.LR_SCHEDULER_NAME reads it",
    "SOLVER.GAMMA": "only WarmupMultiStepLR of SOLVER.LR_SCHEDULER_NAME reads it",
    "SOLVER.MOMENTUM": "the optimiser is AdamW",
    "SOLVER.NESTEROV": "the optimiser is AdamW",
    "SOLVER.NUM_DECAYS": "see SOLVER.STEPS",
    "SOLVER.STEPS": "only WarmupMultiStepLR of SOLVER.LR_SCHEDULER_NAME reads it",
    "VERSION": "configs of Detectron2's first version are not converted",
}
OWN_NETWORK = {
    "MODEL.META_ARCHITECTURE": ("CADFormer",),
    "MODEL.BACKBONE.NAME": ("TextAwareSwin", "TextAwareTimm"),
}


def refuse_keys_without_effect(cfg: CfgNode) -> None:
    """Raise ValueError if a key of Detectron2 is set that this project does not read.

    Accepts values that describe what happens here anyway. A network of the user's own may read any
    key of MODEL.
    """
    is_own = all(get_value(cfg, key) in names for key, names in OWN_NETWORK.items())
    with_effect = WITH_EFFECT.union(SCHEDULES.get(cfg.SOLVER.LR_SCHEDULER_NAME, ()))
    for key, default in iterate_keys(get_cfg()):
        if key in with_effect or (key.startswith("MODEL.") and not is_own):
            continue
        value = get_value(cfg, key)
        if _tuples_to_lists(value) not in (
            _tuples_to_lists(default),
            _tuples_to_lists(TRUE_ANYWAY.get(key, default)),
        ):
            advice = f"; {INSTEAD[key]}" if key in INSTEAD else ""
            raise ValueError(f"{key} is {value!r}, but it has no effect here{advice}. Remove it")


def _tuples_to_lists(value: Any) -> Any:
    """Convert nested tuples to lists, as they are when read from a file."""
    return [_tuples_to_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def iterate_keys(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over (full key, value) of all keys except sections."""
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from iterate_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def get_value(cfg: CfgNode, key: str) -> Any:
    return reduce(lambda node, part: node[part], key.split("."), cfg)


def refuse_unusable_device(cfg: CfgNode) -> None:
    """Raise ValueError if the device does not exist, or the config needs a GPU for its dtypes."""
    try:
        device = resolve_device(cfg.MODEL.DEVICE)
    except ValueError as error:
        raise ValueError(f"MODEL.DEVICE: {error}; add 'MODEL.DEVICE cpu' to the command") from error
    known = [name for name in DTYPES if name != "float32"]
    if cfg.SOLVER.AMP.DTYPE not in known:
        raise ValueError(f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE!r}; known: {', '.join(known)}")
    training = cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32"
    for key, dtype in (("SOLVER.AMP.DTYPE", training), ("TEST.DTYPE", cfg.TEST.DTYPE)):
        try:
            refuse_unusable_format(device, dtype)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error


def refuse_unknown_datasets(cfg: CfgNode, *, eval_only: bool) -> None:
    """Raise ValueError if a dataset of this run, even one read much later, is not registered."""
    if eval_only and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; name a dataset, for example ('rrsisd_test',)")
    for key in ("TEST",) if eval_only else ("TRAIN", "VAL"):
        for name in cfg.DATASETS[key]:
            try:
                refuse_unknown(name)
            except ValueError as error:
                raise ValueError(f"DATASETS.{key}: {error}") from error


def refuse_unmeetable_expectations(cfg: CfgNode, *, eval_only: bool) -> None:
    """Raise ValueError if TEST.EXPECTED_RESULTS names results that this run will not measure."""
    if not cfg.TEST.EXPECTED_RESULTS:
        return
    for task, *_ in cfg.TEST.EXPECTED_RESULTS:
        if task != TASK:
            raise ValueError(f"TEST.EXPECTED_RESULTS has the task {task!r}; known: {TASK}")
    key = "TEST" if eval_only else "VAL"
    if len(cfg.DATASETS[key]) != 1:
        raise ValueError(
            f"TEST.EXPECTED_RESULTS needs exactly one dataset, but DATASETS.{key} is "
            f"{tuple(cfg.DATASETS[key])}"
        )
    if not eval_only and cfg.TEST.EVAL_PERIOD == 0:
        raise ValueError("TEST.EXPECTED_RESULTS is set, but TEST.EVAL_PERIOD 0 measures nothing")


def refuse_small_vocabulary(cfg: CfgNode) -> None:
    """Raise ValueError if the tokenizer has ids beyond the text encoder's embedding table.

    Raises:
        FileNotFoundError: the vocabulary is not on this machine.
    """
    tokenizer, rows = build_tokenizer(cfg), text_vocabulary_size(cfg)
    if rows is not None and tokenizer.vocabulary_size > rows:
        raise ValueError(
            f"INPUT.TOKENIZER: {tokenizer.vocabulary} has {tokenizer.vocabulary_size} tokens, but "
            f"the text encoder has {rows} (MODEL.TEXT_ENCODER.VOCAB_SIZE, or vocab_size in its "
            "config.json)"
        )
