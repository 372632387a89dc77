"""Reading annotation files from the internet: plain data only, and errors that name the file."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

# What the unpickler raises on bytes that make no sense.
DAMAGED_PICKLE = (
    *(pickle.UnpicklingError, EOFError, MemoryError, AttributeError, TypeError),
    *(IndexError, KeyError, ValueError),
)


class PlainUnpickler(pickle.Unpickler):
    """Reads a pickle made of lists, dicts, tuples, strings, bytes and numbers; nothing else.

    A pickle can name any function and have it called. The plain types need no name, so every name
    is refused, except the bytes constructor that Python 2 strings are written with.
    """

    ALLOWED = frozenset({("_codecs", "encode")})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need")


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle without running any code from it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds anything but plain data.
    """
    content = path.read_bytes()
    for encoding in ("utf-8", "latin-1"):  # files written by Python 2 are latin-1
        try:
            return PlainUnpickler(io.BytesIO(content), encoding=encoding).load()
        except UnicodeDecodeError:
            continue
        except DAMAGED_PICKLE as error:
            raise ValueError(
                f"{path}: refused to read this pickle: {error or 'it ends too early'}. "
                "Fetch the file again from the dataset's publisher."
            ) from error
    raise ValueError(f"{path}: its strings are neither UTF-8 nor latin-1")


def read_json(path: Path) -> Any:
    """Read a JSON file; a damaged one is a ValueError naming the file and the place."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); fetch the file again") from error
