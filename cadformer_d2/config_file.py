"""Config files are data: they run no code and come from local disk only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from .plain_yaml import read_yaml

BASE_KEY = "_BASE_"
MAX_MESSAGE = 300  # characters
MAX_FILES = 50  # that one config may be made of


def read_config_file(name: str) -> dict[str, Any]:
    """Read the plain values of a config file, merged over those of the files in its ``_BASE_``.

    Args:
        name: a path. ``_BASE_`` is a path or a list of paths, absolute or relative to its file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, not plain YAML, or its own base; the message names file and
            problem.
    """
    return _values_with_bases(name, inside=(), opened=[])


def _values_with_bases(name: str, *, inside: tuple[Path, ...], opened: list[Path]) -> dict:
    """
    Args:
        inside: the files that have this one in their ``_BASE_``, outermost first.
        opened: all files that were read so far; grows.
    """
    role = f"{BASE_KEY} of {inside[-1]}" if inside else "config file"
    if "://" in name:
        raise ValueError(f"{role} {name}: configs are read from local files only; fetch it first")
    path = Path(os.path.expanduser(name))
    if inside:
        path = inside[-1].parent / path
    if not path.is_file():
        raise FileNotFoundError(f"{role} {path} is missing or not a file")
    if path.resolve() in [file.resolve() for file in inside]:
        raise ValueError(f"{path} includes itself through {BASE_KEY}")
    opened.append(path)
    if len(opened) > MAX_FILES:
        raise ValueError(f"{opened[0]} includes more than {MAX_FILES} files through {BASE_KEY}")
    own = read_yaml(path)
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise ValueError(f"{path} holds a {type(own).__name__}, expected KEY: VALUE lines")
    bases = own.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: {BASE_KEY} is {bases!r}, expected a path or a list of paths")
    values: dict[str, Any] = {}
    for base in bases:
        _merge_over(values, _values_with_bases(base, inside=(*inside, path), opened=opened))
    _merge_over(values, own)
    return values


def _merge_over(values: dict, others: Mapping) -> None:
    """Put a mapping over another one, section by section, in place."""
    for key, value in others.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge_over(values[key], value)
        else:
            values[key] = value


def merge_values(cfg: CfgNode, values: Any, *, source: object) -> None:
    """Merge a mapping of plain values into a config, in place.

    Args:
        source: where they come from, for messages.

    Raises:
        ValueError: not a mapping, an unknown key, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{source} holds a {type(values).__name__}, expected KEY: VALUE lines")
    try:
        merge_pairs(cfg, [part for pair in _flatten(values) for part in pair])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _flatten(values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full key, value) of all values; an empty section is one too."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge_pairs(cfg: CfgNode, pairs: Sequence[Any]) -> None:
    """Merge KEY VALUE pairs into a config, in place; strings are parsed as YAML values.

    Raises:
        ValueError: an unknown key, or a value of the wrong type.
    """
    if len(pairs) % 2:
        raise ValueError(f"{pairs[-1]} has no value; expected KEY VALUE pairs")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if cfg.key_is_deprecated(key):  # which warns of it
            continue
        section, name = _place(cfg, key)
        if isinstance(section[name], CfgNode):
            if isinstance(value, Mapping):  # an empty one changes nothing
                continue
            raise ValueError(f"{key} is a section, not a value; its keys: {_names(section[name])}")
        try:
            cfg.merge_from_list([key, value])
        except ValueError as error:  # from yacs, which repeats the value, however long
            raise ValueError(str(error)[:MAX_MESSAGE]) from error
        except (RecursionError, MemoryError) as error:
            raise ValueError(f"the value of {key} is nested too deeply") from error
        if section[name] is None:
            raise ValueError(f"{key} has no value; leave it out for its default")


def _place(cfg: CfgNode, key: str) -> tuple[CfgNode, str]:
    """Find the section of a full key, and the key's name in it."""
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(cfg.get(section), CfgNode):
            raise ValueError(f"Non-existent key: {key}; known there: {_names(cfg)}")
        cfg = cfg[section]
    if name not in cfg:
        raise ValueError(f"Non-existent key: {key}; known there: {_names(cfg)}")
    return cfg, name


def _names(section: CfgNode) -> str:
    return ", ".join(sorted(section))
