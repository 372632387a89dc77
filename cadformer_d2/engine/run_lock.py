"""One run in a folder: two trainings in one OUTPUT_DIR would mix their checkpoints and logs."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)

LOCK = ".running"
_held: list[TextIO] = []  # open, and so locked, until this process ends


def hold_folder(folder: str | os.PathLike) -> None:
    """Make this process the only one of its kind in a folder until it ends, however it ends.

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
