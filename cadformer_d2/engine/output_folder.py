"""OUTPUT_DIR: one training at a time writes into it, and failures to write name it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)

LOCK = ".running"
# A full disk, a full quota, a file system to read only, a limit on a file's size.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_held: list[TextIO] = []  # open, and so locked, until this process ends


def hold_folder(folder: str | os.PathLike) -> None:
    """Make this process the only one of its kind in a folder until it ends, however it ends.

    Two trainings in one folder would mix their checkpoints and logs.

    Args:
        folder: is made where it is missing.

    Raises:
        ValueError: another process holds it; the message names that one.
        OSError: the folder cannot be written into.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = Path(folder) / LOCK
    file = lock.open("a+")
    try:
        # The system's record lock: processes that a run forks do not inherit it, so it ends with
        # the run even if it is killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning("%s: nothing keeps a second run out of this folder (%s)", folder, error)
            return
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise ValueError(
            f"{folder} is being written by {holder}; wait for it, end it, or choose another "
            "OUTPUT_DIR"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held.append(file)


@contextmanager
def writing_into(folder: str | os.PathLike) -> Iterator[None]:
    """Name the folder in errors of writers of logs and events, which do not say what they wrote.

    Raises:
        OSError: the folder cannot be written into.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        raise OSError(
            f"{folder} cannot be written into ({error}). Checkpoints there are untouched; free "
            "some space and continue with --resume"
        ) from error
