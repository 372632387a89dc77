"""Reading files of tensors: undamaged, of a size that fits them, and without running code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

WRAPPERS = ("model", "state_dict")  # keys under which a model's tensors are kept
WRAPPED = "module."  # before every name of a model that was saved in its DistributedDataParallel
# What the readers raise on bytes that make no sense.
DAMAGED = (
    *(pickle.UnpicklingError, safetensors.SafetensorError, zipfile.BadZipFile, struct.error),
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, MemoryError, OverflowError, NotImplementedError),
)


def read_checkpoint(filename: str | os.PathLike) -> dict[str, Any]:
    """Read a file of tensors and plain values; code in it does not run.

    Args:
        filename: a file of torch.save or of safetensors, whatever its ending.

    Returns:
        what was saved; its tensors are under "model", without the prefix of a wrapped model.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, damaged, larger than it looks, or holding more than tensors
            and plain values.
    """
    path = Path(filename)
    refuse_missing_file(path)
    if path.suffix == ".pkl":
        raise ValueError(f"{path}: .pkl files can run code when read; convert it to .pth first")
    try:
        content = _read(path)
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is not a usable checkpoint: damaged, or holding more than tensors and plain "
            f"values ({reason})"
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    whole = {**content, "model": content[wrapper]} if wrapper else {"model": content}
    return {**whole, "model": _without_wrapper(_tensors(whole["model"], path))}


def refuse_missing_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {path} is missing; MODEL.WEIGHTS names it. README.md says where published "
            'weights come from; MODEL.WEIGHTS "" starts at random'
        )


def _read(path: Path) -> Any:
    """What a file holds, by its first bytes: an archive of torch, safetensors, or torch's old."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return safetensors.torch.load_file(path)
    if start.startswith(b"PK"):
        _refuse_damaged_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _refuse_damaged_archive(path: Path) -> None:
    """Compare what torch does not: each record with its checksum, all records with the file.

    torch.save compresses nothing, so records that need more room than their file are compressed or
    lie over each other, and could take any amount of memory.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(record.file_size for record in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"its records take {size} bytes, more than the file has")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its record {damaged} is wrong; copy the file again")


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """A model's state, made sure of.

    Raises:
        ValueError: an entry is no tensor, or one that spreads few numbers over a huge shape.
    """
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds a {type(state).__name__} as model, expected tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path} holds a {type(value).__name__} under {name!r}, expected tensors by name"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f"{path}: {name} is no plain tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} of shape {tuple(value.shape)} has too few numbers")
    return dict(state)


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(name.startswith(WRAPPED) for name in state):
        return state
    return {name.removeprefix(WRAPPED): value for name, value in state.items()}
