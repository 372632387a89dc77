"""From the command line to the config of a run."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..checkpoint import trained_config
from ..config import add_cadformer_config
from ..data.catalog import register_datasets
from ..data.tokenization import lasting_name
from .config_checks import (
    refuse_keys_without_effect,
    refuse_small_vocabulary,
    refuse_unknown_datasets,
    refuse_unusable_device,
)

logger = logging.getLogger(__name__)

# Sections that describe the network and what it is fed. They follow the checkpoint, not the config
# file, since a network evaluated at other sizes than its own is another network.
CHECKPOINT_SECTIONS = ("MODEL", "INPUT")
# Where the weights lie and what they run on stays the caller's.
CALLERS_KEYS = ("MODEL.WEIGHTS", "MODEL.DEVICE")
USER_ERRORS = (ValueError, OSError, KeyError, FloatingPointError)


def setup(arguments: argparse.Namespace) -> CfgNode:
    """The frozen config of a run; registers the datasets and starts the log.

    Args:
        arguments: of Detectron2's ``default_argument_parser``.

    Raises:
        ValueError: keys or values that cannot be.
        FileNotFoundError: a file the config names is missing.
    """
    cfg = load_config(arguments.config_file, arguments.opts)
    cfg.INPUT.TOKENIZER = lasting_name(cfg.INPUT.TOKENIZER)
    refuse_keys_without_effect(cfg)
    # Detectron2 starts its own log later, in default_setup, and none for other packages.
    ours = setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="cadformer_d2")
    keep_tracebacks_in_the_file(ours)
    refuse_unusable_device(cfg)
    if arguments.eval_only:
        cfg = config_for_evaluation(cfg, overrides=arguments.opts)
    register_datasets(lenient=cfg.DATASETS.LENIENT)
    refuse_unknown_datasets(cfg, eval_only=arguments.eval_only)
    refuse_small_vocabulary(cfg)
    cfg.freeze()
    default_setup(cfg, arguments)
    keep_tracebacks_in_the_file(logging.getLogger("detectron2"))
    return cfg


def load_config(config_file: str, overrides: Sequence[str] = ()) -> CfgNode:
    """The defaults, then a config file ("" for none), then KEY VALUE pairs.

    Raises:
        ValueError: an unknown key, or a value of another type than the key's.
        FileNotFoundError: no such file.
    """
    cfg = get_cfg()
    add_cadformer_config(cfg)
    return merged(cfg, overrides, file=config_file)


def merged(cfg: CfgNode, overrides: Sequence[str], *, file: str = "") -> CfgNode:
    """A config with a file ("" for none) and then KEY VALUE pairs put over it, in place.

    Raises: as load_config.
    """
    try:
        if file:
            cfg.merge_from_file(file)
        cfg.merge_from_list(list(overrides))
    except (AssertionError, KeyError) as error:  # how yacs reports what a user mistyped
        raise ValueError(str(error.args[0])) from error
    return cfg


def keep_tracebacks_in_the_file(log: logging.Logger) -> None:
    """Leave tracebacks out of what a logger writes to the terminal.

    Of an error that is not the user's, Python itself prints the traceback.
    """
    for handler in log.handlers:
        if getattr(handler, "stream", None) is sys.stdout:
            handler.addFilter(lambda record: not record.exc_info)


def config_for_evaluation(cfg: CfgNode, *, overrides: list[str]) -> CfgNode:
    """The config with the network of the checkpoint in MODEL.WEIGHTS.

    MODEL and INPUT come from the checkpoint; what the command line says wins; everything else is
    the caller's. Differences to the config file are logged.

    Args:
        cfg: from the config file and the command line.
        overrides: KEY VALUE pairs of the command line.

    Raises:
        FileNotFoundError, ValueError: no usable checkpoint in MODEL.WEIGHTS.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("--eval-only needs a checkpoint: add 'MODEL.WEIGHTS path/to/model.pth'")
    trained = trained_config(cfg.MODEL.WEIGHTS)
    merged = cfg.clone()
    for section in CHECKPOINT_SECTIONS:
        merged[section] = trained[section]
    merged.merge_from_list(overrides)
    merged.MODEL.WEIGHTS, merged.MODEL.DEVICE = cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE
    for key, ours, theirs in differing_keys(cfg, merged):
        logger.warning("%s is %r as in the checkpoint, the config file says %r", key, theirs, ours)
    return merged


def differing_keys(first: CfgNode, second: CfgNode, prefix: str = "") -> Iterator[tuple]:
    """(key, value in first, value in second) of all leaves that differ."""
    for key, value in first.items():
        other = second[key]
        if isinstance(value, CfgNode):
            yield from differing_keys(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other


def report_user_errors(
    main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace
) -> None:
    """Run a command; end with one clear line, not a traceback, where the user can help.

    The traceback goes to the log file. Errors of our own making (assertions and the
    like) are not caught.
    """
    try:
        main(arguments)
    except USER_ERRORS as error:
        logger.debug("stopped by", exc_info=True)
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.exit(f"error: {message}")
