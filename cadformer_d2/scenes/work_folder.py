"""Folders for unfinished answers, and the rename that finishes one.

    <output>/unfinished/<name>/   tiles that are done already, and the answer in the making
    <output>/scenes/<name>/       the answer, whole; it appears by one rename

Whoever works on an answer holds a lock on its folder, which the operating system lets go with the
process, however it ends; the file names machine and process. Who finds it taken works in a folder
of its own, and the first to finish wins: a process that was given up for dead can do no harm.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"
PRIVATE = ".private-"


@contextmanager
def open_work_folder(unfinished: Path, name: str) -> Iterator[Path]:
    """Yield a folder that no other process works in; it stays if the block raises.

    Args:
        unfinished: the folder of work folders.
        name: of the answer.

    Raises:
        OSError: it cannot be written.
    """
    folder = unfinished / name
    lock = _lock(folder)
    if lock is None:
        folder = unfinished / f"{name}{PRIVATE}{secrets.token_hex(4)}"
        lock = _lock(folder)
        assert lock is not None, f"{folder} is a name that nobody else has"
    try:
        yield folder
        shutil.rmtree(folder)
    finally:
        os.close(lock)


def remove_abandoned(unfinished: Path) -> None:
    """Remove the private folders of processes that have ended."""
    for folder in unfinished.glob(f"*{PRIVATE}*"):
        if (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Make and lock a folder: a file descriptor that holds the lock; None if another has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another process has finished and removed the folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(folder / LOCK)):
                os.ftruncate(lock, 0)
                os.write(lock, f"{socket.gethostname()} {os.getpid()}\n".encode())
                return lock
            os.close(lock)
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            os.close(lock)
        except OSError as error:
            os.close(lock)
            raise OSError(f"{folder / LOCK} could not be written: {error}") from error


def finish(made: Path, final: Path) -> None:
    """Give a folder with a whole answer its final name, unless another process was faster.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    for file in sorted(made.iterdir()):
        _sync(file)
    _sync(made)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(made)  # the same answer is there
    _sync(final.parent)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
