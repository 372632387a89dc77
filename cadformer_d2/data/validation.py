"""Validation of outside data against a schema, with errors of one line."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

# Of an expression. With a bound, pydantic also checks the characters: it refuses half a surrogate
# pair, which JSON can hold and no tokenizer or file takes.
LONGEST_TEXT = 100_000  # characters
Text = Annotated[str, Field(max_length=LONGEST_TEXT, strict=True)]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def quote(value: object) -> str:
    """Quote an outside value for a message: on one line and shortened."""
    return _short.repr(value)


def validate(schema: TypeAdapter, value: object) -> Any:
    """Convert a value to the types of a schema.

    Raises:
        ValueError: it does not fit; the message names the first wrong place, its value and why.
    """
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        raise ValueError(f"has no {place!r}")
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    raise ValueError(f"{place + ' ' if place else ''}is {quote(fault['input'])}, it {reason}")
