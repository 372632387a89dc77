"""Cleaning of texts and numbers, whatever program wrote them."""

from __future__ import annotations

import csv
import re
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ..data.validation import Text, validate
from .triplets import Box

# Control characters, which a terminal obeys, and invisible characters: a byte order mark, a
# zero-width space.
UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u2060\ufeff]")
# A spreadsheet quotes a cell with a comma and doubles quotes inside.
QUOTED = re.compile(r'"((?:[^"]|"")+)"')

Number = Annotated[float, Field(strict=True)]
_FOUR_NUMBERS = TypeAdapter(tuple[Number, Number, Number, Number])
_TEXT = TypeAdapter(Text)


def require_text(value: Any) -> str:
    """Return the value if it is a text.

    Raises:
        ValueError: it is something else, or too long; the message shows it.
    """
    return validate(_TEXT, value)


def tidy_text(text: str) -> str:
    """Remove invisible characters, a spreadsheet's quotes, and repeated or outer spaces."""
    visible = " ".join(UNSEEN.sub("", text).split())
    quoted = QUOTED.fullmatch(visible)
    return " ".join(quoted[1].replace('""', '"').split()) if quoted else visible


def parse_spreadsheet_line(line: str) -> list[str] | None:
    """Fields of a line that a spreadsheet wrote with quotes; None for any other line."""
    if '"' not in line:
        return None
    try:
        (fields,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        return None
    return fields if fields != line.split(",") else None


def parse_four_numbers(values: Any) -> Box | None:
    """A list of four numbers, or None if it is something else."""
    try:
        return validate(_FOUR_NUMBERS, values)
    except ValueError:
        return None
