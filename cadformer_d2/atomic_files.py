"""Files that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished-"


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, with its ending; rename it after the block.

    Several processes may write one file at once; the last to finish wins.

    Raises:
        OSError: the file could not be written; the message names it. What stood under ``path``
            before stays as it was, and no half-written file is left.
    """
    _remove_leftovers(path)
    writer = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f"{UNFINISHED}{writer}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text or bytes; raises like ``replace_atomically``."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of ``path`` on this machine left behind."""
    prefix = f"{UNFINISHED}{socket.gethostname()}."
    for leftover in path.parent.glob(f"{UNFINISHED}*-{glob.escape(path.name)}"):
        writer, _, _ = leftover.name.removeprefix(prefix).partition(".")
        if leftover.name.startswith(prefix) and writer.isdigit() and not _is_running(int(writer)):
            leftover.unlink(missing_ok=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
