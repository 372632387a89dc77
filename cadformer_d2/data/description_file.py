"""``dataset.json``, which registers a folder in RefCOCO format without code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from .annotation_files import Name
from .categories import normalize_name
from .plain_files import read_json
from .validation import validate

DESCRIPTION_FILE = "dataset.json"
SPLITS = ("train", "val", "test")


class _Description(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    classes: Annotated[list[Name], Field(min_length=1)]
    counts: dict[Literal["train", "val", "test"], Annotated[int, Field(ge=0)]]
    targets: Literal["one", "any"]


@dataclass(frozen=True)
class DatasetDescription:
    """What a ``dataset.json`` says."""

    classes: tuple[str, ...]  # key ``classes``
    # Key ``counts``, optional: refs per split, which ``cadformer dataset check`` compares with the
    # files.
    counts: dict[str, int]
    any_targets: bool  # key ``targets``: "any" number for each ref, or "one", the default


_DESCRIPTION = TypeAdapter(_Description)


def read_description(path: Path) -> DatasetDescription:
    """
    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged; the message names file and key.
    """
    content = read_json(path)
    try:
        description = validate(_DESCRIPTION, content)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; expected 'classes', a list of names, 'counts', the number of refs "
            f"of {', '.join(SPLITS)}, and 'targets', 'one' or 'any' for each ref"
        ) from error
    classes = description.get("classes", [])
    if len(set(map(normalize_name, classes))) < len(classes) or not classes:
        raise ValueError(f"{path}: 'classes' is {classes}; expected distinct names")
    return DatasetDescription(
        classes=tuple(classes),
        counts=description.get("counts", {}),
        any_targets=description.get("targets") == "any",
    )
