"""Checkpoints: written whole or not at all, carrying their config, read without running code."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from torch import Tensor, nn

from .atomic_files import written_whole
from .config import add_cadformer_config
from .config_file import merge_values
from .config_schema import refuse_impossible_values
from .plain_yaml import parse_yaml

logger = logging.getLogger(__name__)

CONFIG_KEY = "config"
SHOWN_KEYS = 5  # of a long list in a message


class RefSegCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with a config in every file, atomic writes and strict reading."""

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
            config: written into every checkpoint; needed for saving only.
            is_resumable: whether ``--resume`` may go on from what this checkpointer saved last.
            kwargs: Detectron2's: ``save_to_disk`` and further objects with a state.
        """
        super().__init__(model, save_dir, **kwargs)
        self.is_resumable = is_resumable
        self.config_text = None if config is None else config.dump()

    def save(self, name: str, **state: Any) -> None:
        """Write ``<save_dir>/<name>.pth``; where resumable, point ``last_checkpoint`` to it.

        Raises:
            OSError: the file could not be written, for example on a full disk. Checkpoints that
                were there before are as they were.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        assert self.config_text is not None, "a checkpoint without its config cannot be used later"
        content = {"model": self.model.state_dict(), CONFIG_KEY: self.config_text, **state}
        for key, checkpointable in self.checkpointables.items():
            content[key] = checkpointable.state_dict()
        path = Path(self.save_dir) / f"{name}.pth"
        self.logger.info("Saving checkpoint to %s", path)
        write_atomically(content, path)
        if self.is_resumable:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """As Detectron2's, but whole or not at all: an empty tag would end every --resume."""
        with written_whole(Path(self.save_dir) / "last_checkpoint") as temporary:
            temporary.write_text(last_filename_basename)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Detectron2's; a path that is no file is a FileNotFoundError naming it."""
        if path:
            refuse_missing_file(Path(path))
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_checkpoint(filename)
        if is_swin_release(content):
            renamed, dropped = rename_swin_weights(content["model"])
            logger.info(
                "%s is a Swin release; not used: %s", filename, ", ".join(dropped) or "none"
            )
            content = {"model": fit_position_tables(renamed, self.model.state_dict())}
        return content if "model" in content else {"model": content}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        wanted, found = self.model.state_dict(), checkpoint["model"]
        refuse_other_architecture(wanted, found)
        matching = len(wanted.keys() & found.keys())
        incompatible = super()._load_model(checkpoint)
        logger.info(
            "loaded %d of %d tensors; missing %d (%s); not used %d (%s)",
            matching,
            len(wanted),
            len(incompatible.missing_keys),
            shortened(sorted(incompatible.missing_keys)),
            len(incompatible.unexpected_keys),
            shortened(sorted(incompatible.unexpected_keys)),
        )
        return incompatible


def write_atomically(content: dict[str, Any], path: Path) -> None:
    """torch.save, whole or not at all.

    Raises:
        OSError: with the file's name; nothing half-written is left.
    """
    try:
        with written_whole(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports some failed writes as RuntimeError
        raise OSError(
            f"checkpoint {path} could not be written ({error}). Earlier checkpoints are untouched; "
            "free some space and continue with --resume"
        ) from error


def refuse_missing_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {path} is missing; MODEL.WEIGHTS names it. README.md says where published "
            'weights come from; MODEL.WEIGHTS "" starts at random'
        )


def read_checkpoint(filename: str | os.PathLike) -> dict[str, Any]:
    """Read a file of tensors and plain values; code in it does not run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, damaged, or holding more than tensors and plain values.
    """
    path = Path(filename)
    refuse_missing_file(path)
    if path.suffix == ".pkl":
        raise ValueError(f"{path}: .pkl files can run code when read; convert it to .pth first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is not a usable checkpoint: damaged, or holding more than tensors and plain "
            f"values ({reason})"
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    return content


def checkpoint_config(filename: str | os.PathLike) -> str:
    """The YAML text of the config a checkpoint was trained with.

    Raises:
        ValueError: the checkpoint carries none.
    """
    content = read_checkpoint(filename)
    if CONFIG_KEY not in content:
        raise ValueError(f"{filename} carries no config: it was not written by this project")
    if not isinstance(content[CONFIG_KEY], str):
        raise ValueError(f"the config that {filename} carries is no text; it is damaged")
    return content[CONFIG_KEY]


def trained_config(filename: str | os.PathLike) -> CfgNode:
    """The config a checkpoint was trained with, set to use its weights and to look for no others.

    Keys that are younger than the checkpoint have their defaults.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint of this project, or of a version that knows more keys.
    """
    cfg = get_cfg()
    add_cadformer_config(cfg)
    source = f"the config that {filename} carries"
    try:
        merge_values(cfg, parse_yaml(checkpoint_config(filename), source=source), source=source)
        refuse_impossible_values(cfg)
    except ValueError as error:
        raise ValueError(f"{error}; was the checkpoint written by another version?") from error
    cfg.MODEL.WEIGHTS, cfg.MODEL.TEXT_ENCODER.WEIGHTS = os.fspath(filename), ""
    return cfg


def refuse_other_architecture(wanted: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
    """Raise ValueError if shapes differ or no name matches, naming the first few."""
    common = [key for key in found if key in wanted]
    if not common:
        raise ValueError(
            "no tensor of the checkpoint belongs to this model; it has, for example, "
            f"{shortened(sorted(map(str, found)))}; the model has {shortened(sorted(wanted))}"
        )
    differing = [
        f"{key}: {tuple(found[key].shape)}, the model has {tuple(wanted[key].shape)}"
        for key in common
        if tuple(found[key].shape) != tuple(wanted[key].shape)
    ]
    if differing:
        raise ValueError(
            f"the checkpoint is of another architecture; {len(differing)} tensors have other "
            f"shapes: {shortened(differing)}. Use the config it was trained with"
        )


def is_swin_release(content: Mapping[str, Any]) -> bool:
    """Whether a file has the names of Microsoft's Swin releases."""
    model = content.get("model")
    return isinstance(model, Mapping) and any(key.startswith("layers.0.blocks") for key in model)


def rename_swin_weights(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """From the names of Microsoft's Swin releases to those of TextAwareSwin in CADFormer.

    Returns:
        the renamed weights, and the names that have no counterpart: the classifier, its norm, and
        index tables that are computed.
    """
    renamed, dropped = {}, []
    for name, weight in state.items():
        if name.startswith("patch_embed."):
            renamed[f"backbone.{name}"] = weight
        elif ".blocks." in name and not name.endswith(("attn_mask", "relative_position_index")):
            renamed[f"backbone.stages.{name.removeprefix('layers.')}"] = weight
        elif ".downsample." in name:
            stage, _, rest = name.removeprefix("layers.").partition(".downsample.")
            renamed[f"backbone.merges.{stage}.{rest}"] = weight
        else:
            dropped.append(name)
    return renamed, dropped


def fit_position_tables(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Resize relative position tables to the model's window where the file's differs."""
    fitted = dict(state)
    for name, weight in state.items():
        if name.endswith("relative_position_bias_table") and name in wanted:
            fitted[name] = resize_position_table(weight, wanted[name].shape[0])
    return fitted


def resize_position_table(table: Tensor, length: int) -> Tensor:
    """Relative position biases for another window size, by bicubic interpolation.

    Args:
        table: ((2 M - 1)^2, heads) for windows of M x M.
        length: (2 M' - 1)^2.
    """
    if table.shape[0] == length:
        return table
    side, new_side = round(table.shape[0] ** 0.5), round(length**0.5)
    grid = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False)
    return resized.reshape(-1, length).T.contiguous()


def shortened(names: list[str]) -> str:
    more = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "") or "none"
