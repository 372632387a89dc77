"""Texts and numbers of a source's entries, whatever program wrote them."""

from __future__ import annotations

import csv
import re
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ..data.validation import Text, validate
from .triplets import Box

# Control characters, which a terminal obeys, and marks that no reader sees: a byte order mark that
# an editor put before the first letter, a zero-width space.
UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u2060\ufeff]")
# What a spreadsheet makes of a cell with a comma: quotes around it, those inside doubled.
QUOTED = re.compile(r'"((?:[^"]|"")+)"')

Number = Annotated[float, Field(strict=True)]
_FOUR_NUMBERS = TypeAdapter(tuple[Number, Number, Number, Number])
_TEXT = TypeAdapter(Text)


def plain_text(value: Any) -> str:
    """The value, if it is a text.

    Raises:
        ValueError: it is something else, or too long; the message shows it.
    """
    return validate(_TEXT, value)


def tidied(text: str) -> str:
    """Without what no reader sees and a spreadsheet's quotes; spaces single and at no end."""
    visible = " ".join(UNSEEN.sub("", text).split())
    quoted = QUOTED.fullmatch(visible)
    return " ".join(quoted[1].replace('""', '"').split()) if quoted else visible


def spreadsheet_fields(line: str) -> list[str] | None:
    """Fields of a line that a spreadsheet wrote with quotes; None of any other line."""
    if '"' not in line:
        return None
    try:
        (fields,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        return None
    return fields if fields != line.split(",") else None


def four_numbers(values: Any) -> Box | None:
    """A list of four numbers, or None where it is something else."""
    try:
        return validate(_FOUR_NUMBERS, values)
    except ValueError:
        return None
