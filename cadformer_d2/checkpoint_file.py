"""Read files of tensors safely: verify them, bound their size, and run no code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .library_errors import first_line

SHOWN_NAMES = 5  # of a long list in a message
WRAPPERS = ("model", "state_dict")  # keys of a model's tensors
WRAPPED = "module."  # prefix of names saved from inside DistributedDataParallel
ARCHIVE = b"PK"  # first bytes of torch.save files
# Exceptions of the readers on malformed bytes.
DAMAGED = (
    *(pickle.UnpicklingError, safetensors.SafetensorError, zipfile.BadZipFile, struct.error),
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, MemoryError, OverflowError, NotImplementedError),
)


def read_checkpoint(filename: str | os.PathLike) -> dict[str, Any]:
    """Read a file of tensors and plain values without running code in it.

    Args:
        filename: a file of torch.save or of safetensors, whatever its extension.

    Returns:
        its content; the tensors are under "model", without the prefix of a wrapped model.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, damaged, a decompression bomb, or holding more than tensors
            and plain values.
    """
    path = Path(filename)
    content = _read_dict(path, _read)
    wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
    whole = {**content, "model": content[wrapper]} if wrapper else {"model": content}
    return {**whole, "model": _without_wrapper(_tensors(whole["model"], path))}


def read_metadata(filename: str | os.PathLike) -> dict[str, Any]:
    """Read what a checkpoint carries besides tensors, such as its config and its tokenizer.

    Tensors stay on disk, unverified, so it takes milliseconds where ``read_checkpoint`` takes
    seconds.

    Raises: as read_checkpoint.
    """
    content = _read_dict(Path(filename), _read_lazily)
    return {key: value for key, value in content.items() if not isinstance(value, Mapping | Tensor)}


def refuse_non_finite(state: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming the first few, if weights are infinite or NaN."""
    bad = [
        name
        for name, value in state.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if bad:
        raise ValueError(f"{len(bad)} of {len(state)} tensors are not finite: {abbreviate(bad)}")


def abbreviate(names: Sequence[str]) -> str:
    """Join the first few names, and count the rest."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "") or "none"


def refuse_missing_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {path} is missing; MODEL.WEIGHTS names it. README.md says where published "
            'weights come from; MODEL.WEIGHTS "" starts at random'
        )


def _read_dict(path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    refuse_missing_file(path)
    if path.suffix == ".pkl":
        raise ValueError(f"{path}: .pkl files can run code when read; convert it to .pth first")
    try:
        content = read(path)
    except DAMAGED as error:
        raise ValueError(
            f"{path} is not a usable checkpoint: damaged, or holding more than tensors and plain "
            f"values ({first_line(error)})"
        ) from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    return content


def _read(path: Path) -> Any:
    """Read a zip archive of torch, safetensors, or torch's legacy format, by its first bytes."""
    start = _start(path)
    if start[8:] == b"{":
        return safetensors.torch.load_file(path)
    if start.startswith(ARCHIVE):
        _refuse_damaged_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_lazily(path: Path) -> Any:
    """As ``_read``, but map the tensors of a torch archive lazily."""
    if not _start(path).startswith(ARCHIVE):
        return _read(path)
    with zipfile.ZipFile(path) as archive:
        _refuse_overlapping_records(archive, path)
        for name in archive.namelist():
            if name.endswith("/data.pkl"):  # everything but the tensors' data
                archive.read(name)  # verifies its checksum
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(9)


def _refuse_damaged_archive(path: Path) -> None:
    """Verify what torch does not: the checksum of each record, and their total size."""
    with zipfile.ZipFile(path) as archive:
        _refuse_overlapping_records(archive, path)
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its record {damaged} is wrong; copy the file again")


def _refuse_overlapping_records(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise ValueError if records take more bytes than their file.

    torch.save does not compress, so such records are compressed or overlap, and could take any
    amount of memory.
    """
    size = sum(record.file_size for record in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"its records take {size} bytes, more than the file has")


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """Validate a model's state.

    Raises:
        ValueError: an entry is not a tensor, or expands few numbers to a huge shape.
    """
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{path} holds a {type(state).__name__} as model, expected tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path} holds a {type(value).__name__} under {name!r}, expected tensors by name"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f"{path}: {name} is not a dense tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} of shape {tuple(value.shape)} has too few numbers")
    return dict(state)


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(name.startswith(WRAPPED) for name in state):
        return state
    return {name.removeprefix(WRAPPED): value for name, value in state.items()}
