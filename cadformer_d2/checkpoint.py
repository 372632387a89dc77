"""Checkpoints: atomic, finite, self-contained with config and tokenizer."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from torch import Tensor, nn

from .atomic_files import replace_atomically, write_atomically
from .checkpoint_file import (
    abbreviate,
    read_checkpoint,
    read_metadata,
    refuse_missing_file,
    refuse_non_finite,
)
from .config import add_cadformer_config
from .config_file import merge_values
from .config_schema import refuse_impossible_values
from .data.tokenization import CHECKPOINT_KEY as TOKENIZER_KEY
from .data.tokenization import build_tokenizer
from .package_files import is_package_reference
from .plain_yaml import parse_yaml
from .pretrained_folder import (
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    find_pretrained_folder,
    read_description,
    read_weights,
)

logger = logging.getLogger(__name__)

CONFIG_KEY = "config"
# What a checkpoint without the key was trained with, where that is not today's default.
VALUES_BEFORE_KEY = {"MODEL.ALIGNMENT.DECODER_FEATURE": "fused", "MODEL.TIMM.STAGE_VIEWS": False}


class RefSegCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict reading.

    Every file contains config and tokenizer, so that the model can be rebuilt without any other
    file of its training.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        config: CfgNode | None = None,
        is_resumable: bool = True,
        **kwargs: Any,
    ):
        """
        Args:
            model: saved and loaded.
            save_dir: where checkpoints go.
            config: written into every checkpoint, with its tokenizer; needed for saving only.
            is_resumable: whether ``--resume`` may go on from what this checkpointer saved last.
            kwargs: Detectron2's: ``save_to_disk`` and further objects with a state.
        """
        super().__init__(model, save_dir, **kwargs)
        self.may_lack_tensors = False
        self.is_resumable = is_resumable
        self.carried = {} if config is None else _collect_carried_texts(config, self.model)

    def save(self, name: str, **state: Any) -> None:
        """Write ``<save_dir>/<name>.pth``; where resumable, point ``last_checkpoint`` to it.

        If it fails, earlier checkpoints stay as they were.

        Raises:
            OSError: the file could not be written, for example on a full disk.
            FloatingPointError: the model's weights are not finite.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        assert self.carried, "a checkpoint without its config cannot be used later"
        content = {"model": self.model.state_dict(), **self.carried, **state}
        for key, checkpointable in self.checkpointables.items():
            content[key] = checkpointable.state_dict()
        path = Path(self.save_dir) / f"{name}.pth"
        try:
            refuse_non_finite(content["model"])
        except ValueError as error:
            raise FloatingPointError(
                f"{path} was not written: {error}. Earlier checkpoints are finite; lower "
                "SOLVER.BASE_LR and continue from the last with --resume"
            ) from error
        self.logger.info("Saving checkpoint to %s", path)
        _save_atomically(content, path)
        if self.is_resumable:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """As Detectron2's, but whole or not at all: an empty tag would end every --resume."""
        write_atomically(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """As Detectron2's, for files of torch and of safetensors, and for folders.

        Args:
            path: a checkpoint of this project, a folder or Hugging Face name as
                ``find_pretrained_folder``, weights that others published for the backbone, or other
                weights under the model's names; "": none.
            checkpointables: further objects to load; None: all that there are. Without any, as a
                training starts, a checkpoint of this project may lack tensors of the model.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, of another network, incomplete, or not finite.
        """
        if path:
            folder = find_pretrained_folder(path)
            path = path if folder is None else os.fspath(folder / WEIGHTS_FILE)
            refuse_missing_file(Path(path))
        self.may_lack_tensors = checkpointables == []
        return super().load(path, checkpointables)

    def _load_file(self, filename: str) -> dict[str, Any]:
        folder = find_pretrained_folder(filename)
        if folder is None:
            content = read_checkpoint(filename)
        else:
            content = {CONFIG_KEY: "", "model": read_weights(folder)}
        wanted, found = self.model.state_dict(), content["model"]
        try:
            if not wanted.keys() & found.keys():
                found = self._fit_weights(found)
            _refuse_other_network(wanted, found, is_own=CONFIG_KEY in content)
            if CONFIG_KEY in content and not self.may_lack_tensors:
                _refuse_missing_tensors(wanted, found)
            if folder is not None and not self.may_lack_tensors:
                _refuse_foreign_tensors(wanted, found)
            refuse_non_finite({name: found[name] for name in wanted if name in found})
        except ValueError as error:
            raise ValueError(f"{filename} cannot be used: {error}") from error
        return {**content, "model": found}

    def _fit_weights(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename published weights to the model's names, if the model knows them.

        Raises:
            ValueError: they belong to a network like a part of the model, but of other sizes.
        """
        fit = getattr(self.model, "fit_weights", None)
        fitted = None if fit is None else fit(state)
        if fitted is None:
            return state
        logger.info(
            "weights of the backbone alone; not used: %s", ", ".join(fitted.not_used) or "none"
        )
        return fitted.state

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        num_wanted, num_found = len(self.model.state_dict()), len(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        missing, unused = incompatible.missing_keys, incompatible.unexpected_keys
        logger.info(
            "loaded %d of %d tensors; missing %d (%s); not used %d (%s)",
            num_found - len(unused),
            num_wanted,
            len(missing),
            abbreviate(sorted(missing)),
            len(unused),
            abbreviate(sorted(unused)),
        )
        return incompatible


def _save_atomically(content: dict[str, Any], path: Path) -> None:
    """Save atomically with torch.save.

    Raises:
        OSError: the message names the file; no half-written file is left.
    """
    try:
        with replace_atomically(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        free = shutil.disk_usage(path.parent).free // 10**6
        reason = error if isinstance(error, OSError) else "torch gives no reason"
        raise OSError(
            f"checkpoint {path} could not be written ({reason}; {free} MB free there). Earlier "
            "checkpoints are untouched; free some space and continue with --resume"
        ) from error


def _collect_carried_texts(cfg: CfgNode, model: nn.Module) -> dict[str, str]:
    """Collect what rebuilds a model and its input without any other file, by checkpoint key.

    Args:
        model: its parts may have ``carried_values``: config values that replace files which the
            config names.
    """
    cfg = cfg.clone()
    cfg.defrost()
    for part in model.children():
        for key, value in getattr(part, "carried_values", {}).items():
            cfg.merge_from_list([key, value])
    return {CONFIG_KEY: cfg.dump(), TOKENIZER_KEY: build_tokenizer(cfg).to_json()}


def read_trained_config(filename: str | os.PathLike) -> CfgNode:
    """The config a model was trained with, set to use what comes with it and nothing else.

    Checkpoints older than carried tokenizers still need the one that their config names. Keys newer
    than the checkpoint get their defaults, or the behaviour from before the key.

    Args:
        filename: a checkpoint of this project, or what ``find_pretrained_folder`` finds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this project, or from a newer version.
    """
    cfg = get_cfg()
    add_cadformer_config(cfg)
    for key, value in VALUES_BEFORE_KEY.items():
        cfg.merge_from_list([key, value])
    values, source, tokenizer = _carried_config(filename)
    try:
        merge_values(cfg, values, source=source)
        refuse_impossible_values(cfg)
    except ValueError as error:
        raise ValueError(
            f"this version cannot use {error}; was it written by a newer one?"
        ) from error
    cfg.MODEL.WEIGHTS = os.fspath(filename)
    cfg.MODEL.TEXT_ENCODER.WEIGHTS = cfg.MODEL.BACKBONE.WEIGHTS = ""
    if tokenizer is not None:
        cfg.INPUT.TOKENIZER = os.path.abspath(tokenizer)
    return cfg


def text_encoder_package(filename: str | os.PathLike) -> str:
    """The "package:NAME/folder" that a model's text encoder was first loaded from; "": none.

    Raises: as read_trained_config.
    """
    values, _, _ = _carried_config(filename)
    weights = values
    for key in ("MODEL", "TEXT_ENCODER", "WEIGHTS"):
        weights = weights.get(key, "") if isinstance(weights, Mapping) else ""
    return weights if isinstance(weights, str) and is_package_reference(weights) else ""


def _carried_config(filename: str | os.PathLike) -> tuple[Any, str, str | os.PathLike | None]:
    """Values of the config that comes with a model, what messages call it, and its tokenizer."""
    folder = find_pretrained_folder(filename)
    if folder is not None:
        return read_description(folder).config, f"{folder}", folder / TOKENIZER_FILE
    source = f"the config that {filename} carries"
    content = read_metadata(filename)
    if CONFIG_KEY not in content:
        raise ValueError(f"{filename} carries no config: it was not written by this project")
    if not isinstance(content[CONFIG_KEY], str):
        raise ValueError(f"{source} is not text; the file is damaged")
    try:
        values = parse_yaml(content[CONFIG_KEY], source=source)
    except ValueError as error:
        raise ValueError(
            f"this version cannot use {error}; was it written by a newer one?"
        ) from error
    return values, source, filename if TOKENIZER_KEY in content else None


def _refuse_other_network(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, is_own: bool
) -> None:
    """Raise ValueError if weights belong to another network, naming the first few.

    Args:
        wanted: the model's state.
        found: the file's.
        is_own: whether this project wrote the file. Most tensors of other files have to belong
            to the model: a few equal names are chance.
    """
    common = [name for name in found if name in wanted]
    if not common or (not is_own and 2 * len(common) < len(found)):
        few = f"only {len(common)} of its {len(found)} tensors belong" if common else ""
        raise ValueError(
            f"{few or 'no tensor of the checkpoint belongs'} to this model; it has, for example, "
            f"{abbreviate(sorted(set(found) - set(wanted)))}; the model has "
            f"{abbreviate(sorted(wanted))}"
        )
    differing = [
        f"{name}: {tuple(found[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in common
        if found[name].shape != wanted[name].shape
    ]
    if differing:
        raise ValueError(
            f"the checkpoint has another architecture; {len(differing)} tensors have other "
            f"shapes: {abbreviate(differing)}. Use the config it was trained with"
        )


def _refuse_missing_tensors(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ValueError if the model would keep random weights."""
    if missing := sorted(wanted.keys() - found.keys()):
        raise ValueError(f"{len(missing)} tensors of the model are missing: {abbreviate(missing)}")


def _refuse_foreign_tensors(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ValueError if the model has no place for a tensor."""
    if foreign := sorted(found.keys() - wanted.keys()):
        raise ValueError(
            f"{len(foreign)} tensors have no place in the model: {abbreviate(foreign)}"
        )
