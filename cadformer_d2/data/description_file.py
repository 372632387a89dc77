"""``dataset.json``: makes a folder in RefCOCO format a known dataset, without a line of code."""

from __future__ import annotations

from pathlib import Path

from .plain_files import read_json

DESCRIPTION_FILE = "dataset.json"
SPLITS = ("train", "val", "test")


def read_description(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """
    Returns:
        names of the categories (key ``classes``), and refs by split
        (key ``counts``, may be missing), which ``tools/check_dataset.py`` compares.

    Raises:
        ValueError: the file is damaged; the message names file and key.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object with 'classes' and 'counts'")
    unknown = sorted(set(content) - {"classes", "counts"})
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known keys: classes, counts")
    classes, counts = content.get("classes"), content.get("counts", {})
    if not isinstance(classes, list) or not classes or not all(map(is_name, classes)):
        raise ValueError(f"{path}: 'classes' is {classes!r}, expected a list of names")
    if not isinstance(counts, dict) or not all(
        split in SPLITS and isinstance(number, int) for split, number in counts.items()
    ):
        raise ValueError(f"{path}: 'counts' is {counts!r}, expected refs by {', '.join(SPLITS)}")
    return tuple(classes), counts


def is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
