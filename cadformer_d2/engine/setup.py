"""From the command line to the config of a run."""

from __future__ import annotations

import argparse
import atexit
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..checkpoint import read_trained_config
from ..config import add_cadformer_config
from ..config_file import merge_pairs, merge_values, read_config_file
from ..config_schema import refuse_impossible_values
from ..data.catalog import register_datasets
from ..modeling.backbone import with_weights_record
from .config_checks import (
    get_value,
    iterate_keys,
    refuse_keys_without_effect,
    refuse_small_vocabulary,
    refuse_unknown_datasets,
    refuse_unmeetable_expectations,
    refuse_unusable_device,
)
from .output_folder import lock_folder, name_folder_in_errors

logger = logging.getLogger(__name__)

# Sections that describe the network and its input. They follow the checkpoint, not the config file,
# since a network evaluated at other sizes than its own is another network.
CHECKPOINT_SECTIONS = ("MODEL", "INPUT")
# Keys of files that the checkpoint carries itself.
CARRIED_KEYS = (
    *("INPUT.TOKENIZER", "MODEL.TEXT_ENCODER.WEIGHTS", "MODEL.TEXT_ENCODER.CONFIG"),
    *("MODEL.BACKBONE.WEIGHTS", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD"),
)


def setup(arguments: argparse.Namespace) -> CfgNode:
    """Build the frozen config of a run, register the datasets and start the log.

    Args:
        arguments: of Detectron2's ``default_argument_parser``.

    Raises:
        ValueError: invalid keys or values, or another training in OUTPUT_DIR.
        FileNotFoundError: a file the config names is missing.
    """
    cfg = load_config(arguments.config_file, arguments.opts)
    if not arguments.eval_only and comm.is_main_process():
        lock_folder(cfg.OUTPUT_DIR)
    # Detectron2 starts its own log later, in default_setup, and none for other packages.
    ours = setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="cadformer_d2")
    _hide_tracebacks_from_terminal(ours)
    refuse_unusable_device(cfg)
    if arguments.eval_only:
        cfg = merge_checkpoint_config(cfg, overrides=arguments.opts)
    register_datasets(lenient=cfg.DATASETS.LENIENT)
    refuse_unknown_datasets(cfg, eval_only=arguments.eval_only)
    refuse_unmeetable_expectations(cfg, eval_only=arguments.eval_only)
    refuse_small_vocabulary(cfg)
    cfg.freeze()
    with name_folder_in_errors(cfg.OUTPUT_DIR):
        default_setup(cfg, arguments)
    _hide_tracebacks_from_terminal(logging.getLogger("detectron2"))
    atexit.register(_close_log_files)
    return cfg


def load_config(config_file: str, overrides: Sequence[str] = (), *, common: str = "") -> CfgNode:
    """Merge the defaults, a config file ("" for none) and KEY VALUE pairs, in this order.

    Args:
        common: another config file, merged over the first.

    Raises:
        ValueError: a file that is not plain YAML, an unknown key, a key without effect, or an
            invalid value.
        FileNotFoundError: no such file.
    """
    cfg = get_cfg()
    add_cadformer_config(cfg)
    merge_config(cfg, (), file=config_file)
    return with_weights_record(merge_config(cfg, overrides, file=common))


def merge_config(cfg: CfgNode, overrides: Sequence[str], *, file: str = "") -> CfgNode:
    """Merge a file ("" for none) and then KEY VALUE pairs into a config, in place.

    Raises: as load_config.
    """
    if file:
        merge_values(cfg, read_config_file(file), source=file)
    merge_pairs(cfg, overrides)
    refuse_impossible_values(cfg)
    refuse_keys_without_effect(cfg)
    return cfg


def _hide_tracebacks_from_terminal(log: logging.Logger) -> None:
    """Keep a logger's tracebacks out of the terminal; the log file has them.

    Python itself prints the traceback of an error that is not the user's.
    """
    for handler in log.handlers:
        if getattr(handler, "stream", None) is sys.stdout:
            handler.addFilter(lambda record: not record.exc_info)


def _close_log_files() -> None:
    """Close log files before Python does, which would print a traceback if the disk is full."""
    for name in ("cadformer_d2", "detectron2", "fvcore"):
        for handler in logging.getLogger(name).handlers:
            stream = getattr(handler, "stream", sys.stdout)
            if stream not in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.close()


def merge_checkpoint_config(cfg: CfgNode, *, overrides: list[str]) -> CfgNode:
    """Merge the network of the checkpoint in MODEL.WEIGHTS into the config.

    MODEL and INPUT come from the checkpoint, everything else from ``cfg``; the command line
    overrides both. Differences from the config file are logged.

    Args:
        cfg: from the config file and the command line.
        overrides: KEY VALUE pairs of the command line.

    Raises:
        FileNotFoundError, ValueError: no usable checkpoint in MODEL.WEIGHTS.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("--eval-only needs a checkpoint: add 'MODEL.WEIGHTS path/to/model.pth'")
    trained = read_trained_config(cfg.MODEL.WEIGHTS)
    merged = cfg.clone()
    for section in CHECKPOINT_SECTIONS:
        merged[section] = trained[section]
    merge_pairs(merged, overrides)
    refuse_impossible_values(merged)
    merged = with_weights_record(merged)
    # Path and device stay the caller's.
    merged.MODEL.WEIGHTS, merged.MODEL.DEVICE = cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE
    for key, ours in iterate_keys(cfg):
        if key not in CARRIED_KEYS and ours != (theirs := get_value(merged, key)):
            logger.warning(
                "%s is %r, from the checkpoint; the config file has %r", key, theirs, ours
            )
    return merged
