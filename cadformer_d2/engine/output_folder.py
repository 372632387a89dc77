"""OUTPUT_DIR: one training at a time writes into it; errors of writing name it."""

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
# Full disk, full quota, read-only file system, file size limit.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_held: list[TextIO] = []  # files stay open, and so locked, until this process ends


def lock_folder(folder: str | os.PathLike) -> None:
    """Lock a folder for this process until it ends, however it ends.

    Two trainings in one folder would mix their checkpoints and logs.

    Args:
        folder: created if missing.

    Raises:
        ValueError: another process holds the lock; the message names it.
        OSError: the folder is not writable.
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
            logger.warning("%s: cannot lock this folder against a second run (%s)", folder, error)
            return
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise ValueError(
            f"{folder} is being written by {holder}; wait for it, stop it, or choose another "
            "OUTPUT_DIR"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held.append(file)


@contextmanager
def name_folder_in_errors(folder: str | os.PathLike) -> Iterator[None]:
    """Add the folder's name to errors of log and event writers, which omit it.

    Raises:
        OSError: the folder is not writable.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        raise OSError(
            f"cannot write to {folder} ({error}). Checkpoints there are untouched; free "
            "some space and continue with --resume"
        ) from error
