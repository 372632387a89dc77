"""CSV files for people, who open them in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..atomic_files import replace_atomically

# A text that begins so is a formula to a spreadsheet, which may fetch or run something.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def write_spreadsheet(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV; a text that a spreadsheet would take for a formula gets a ' before it.

    Raises:
        OSError: see ``replace_atomically``.
    """
    with replace_atomically(path) as unfinished, unfinished.open("w", newline="") as file:
        csv.writer(file).writerows([plain_cell(value) for value in row] for row in rows)


def plain_cell(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(FORMULA_SIGNS)
    return f"'{value}" if is_formula else value
