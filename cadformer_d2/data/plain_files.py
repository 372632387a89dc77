"""Reading outside files: errors name the file, and file names stay inside their folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

# Absolute, with a drive, or a step up, as any system writes them.
LEADS_OUT = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")
LONGEST_NAME = 255  # bytes in a part of a path, as file systems have it


def read_text(path: Path) -> str:
    """Read a UTF-8 text, without the byte order mark that some editors write.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not UTF-8; the message names it.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged or nested too deeply; the message names the file and the place.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError(f"{path}: lists are nested too deeply for any dataset") from error
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: not valid JSON ({error}); download the file again") from error


def join_inside(folder: Path, name: str) -> Path:
    """Join a folder and a file name that was read from a file.

    Raises:
        ValueError: the name leads out of the folder, or is not a valid file name.
    """
    if LEADS_OUT.search(name):
        raise ValueError(f"the file name {name!r:.99} leads out of its folder")
    parts = name.split("/")
    is_long = len(name) > LONGEST_NAME // 4 and any(
        len(part.encode(errors="replace")) > LONGEST_NAME for part in parts
    )
    if set(parts) <= {"", "."} or is_long or not name.isprintable():
        raise ValueError(f"{name!r:.99} is not a file name")
    return folder / name
