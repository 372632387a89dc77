"""CSV files that people open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..atomic_files import replace_atomically

# A spreadsheet takes a text that starts with one of these for a formula, and may run it.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def write_spreadsheet(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV; a text that looks like a formula gets a leading '.

    Raises:
        OSError: see ``replace_atomically``.
    """
    with replace_atomically(path) as unfinished, unfinished.open("w", newline="") as file:
        csv.writer(file).writerows([_escape_formula(value) for value in row] for row in rows)


def _escape_formula(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(FORMULA_SIGNS)
    return f"'{value}" if is_formula else value
