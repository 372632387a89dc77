"""What a config may ask for and cannot have: said before hours of training, not after."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg

from ..data.catalog import refuse_unknown
from ..data.tokenization import ExpressionTokenizer
from ..precision import DTYPES, refuse_unusable_format

# Keys of Detectron2 that nothing here reads, and what does their work, where something does.
WITHOUT_EFFECT = {
    "DATALOADER.ASPECT_RATIO_GROUPING": "all samples have INPUT.SIZE",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "see DATASETS.LENIENT",
    "DATALOADER.REPEAT_THRESHOLD": "",
    "DATALOADER.SAMPLER_TRAIN": "",
    "INPUT.CROP.ENABLED": "",
    "INPUT.MAX_SIZE_TEST": "see INPUT.SIZE",
    "INPUT.MAX_SIZE_TRAIN": "see INPUT.SIZE",
    "INPUT.MIN_SIZE_TEST": "see INPUT.SIZE",
    "INPUT.MIN_SIZE_TRAIN": "see INPUT.SIZE",
    "INPUT.RANDOM_FLIP": "see INPUT.ORIENTATIONS",
    "SOLVER.BASE_LR_END": "the rate ends at 0",
    "SOLVER.BIAS_LR_FACTOR": "",
    "SOLVER.GAMMA": "see SOLVER.POLY_POWER",
    "SOLVER.MOMENTUM": "the optimiser is AdamW",
    "SOLVER.NESTEROV": "the optimiser is AdamW",
    "SOLVER.STEPS": "see SOLVER.POLY_POWER",
    "TEST.AUG.ENABLED": "",
    "TEST.PRECISE_BN.ENABLED": "",
}


def refuse_keys_without_effect(cfg: CfgNode) -> None:
    """Raise ValueError where a key of Detectron2 was set that this project does not read."""
    defaults = get_cfg()
    for key, instead in WITHOUT_EFFECT.items():
        if value_of(cfg, key) != value_of(defaults, key):
            advice = f"; {instead}" if instead else ""
            raise ValueError(
                f"{key} is {value_of(cfg, key)!r}, but it has no effect here{advice}. Leave it out"
            )


def value_of(cfg: CfgNode, key: str) -> Any:
    return reduce(lambda node, part: node[part], key.split("."), cfg)


def refuse_unusable_device(cfg: CfgNode) -> None:
    """Raise ValueError where the config asks for no device, or for what only a GPU can do."""
    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, which is no device; for example cuda or cpu"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but this machine has no usable CUDA GPU; "
            "add 'MODEL.DEVICE cpu' to the command"
        )
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
    """Raise ValueError where a dataset that will be read, perhaps much later, is not registered."""
    if eval_only and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; name a dataset, for example ('rrsisd_test',)")
    for key in ("TEST",) if eval_only else ("TRAIN", "VAL"):
        for name in cfg.DATASETS[key]:
            try:
                refuse_unknown(name)
            except ValueError as error:
                raise ValueError(f"DATASETS.{key}: {error}") from error


def refuse_small_vocabulary(cfg: CfgNode) -> None:
    """Raise ValueError where the tokenizer gives ids that the text encoder has no row for.

    Raises:
        FileNotFoundError: there is no such vocabulary on this machine.
    """
    tokenizer = ExpressionTokenizer(vocabulary=cfg.INPUT.TOKENIZER, max_tokens=cfg.INPUT.MAX_TOKENS)
    rows = cfg.MODEL.TEXT_ENCODER.VOCAB_SIZE
    if tokenizer.vocabulary_size > rows:
        raise ValueError(
            f"INPUT.TOKENIZER {cfg.INPUT.TOKENIZER!r} has {tokenizer.vocabulary_size} word pieces, "
            f"more than MODEL.TEXT_ENCODER.VOCAB_SIZE, {rows}"
        )
