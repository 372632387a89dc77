"""Outside data held against a schema, and what does not fit said in one line."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

# Of a sentence. A text with a bound is also looked through: half a surrogate pair, which JSON can
# hold and no tokenizer or file takes, is refused.
LONGEST_TEXT = 100_000  # characters
Text = Annotated[str, Field(max_length=LONGEST_TEXT, strict=True)]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def shown(value: object) -> str:
    """A value from outside as a message can carry it: without line breaks, and not at length."""
    return _short.repr(value)


def checked(schema: TypeAdapter, value: object) -> Any:
    """The value with the types of the schema.

    Raises:
        ValueError: it does not fit; the message names the first place, what it holds and why not.
    """
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        raise ValueError(f"has no {place!r}")
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    raise ValueError(f"{place + ' ' if place else ''}is {shown(fault['input'])}, it {reason}")
