"""The network's output for each tile of a scene, kept on disk until the map is assembled."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import write_atomically

MARK = b"T"  # an unwritten record is a hole in the file: zeros
CHECKSUM_BYTES = 4
LEVELS = 255  # probabilities are stored in 8 bits


class TileStore:
    """One file of equal records: a mark, a checksum, and the tile's probabilities.

    A record left half-written by a kill or a power cut fails its checksum and counts as missing, so
    nothing needs to wait for the disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        job: dict[str, Any],
        num_tiles: int,
        shape: tuple[int, int],
        resume: bool,
    ):
        """
        Args:
            folder: for this job only.
            job: everything that the tiles depend on, for JSON.
            num_tiles: of the scene.
            shape: (height, width) of a tile's probabilities.
            resume: whether to keep existing tiles.

        Raises:
            ValueError: the folder has tiles of this job and ``resume`` is not set, or tiles of
                another job.
            OSError: the folder cannot be written.
        """
        self.folder, self.shape = folder, shape
        description = folder / "job.json"
        if description.exists():
            if not resume:
                raise ValueError(
                    f"{folder} has an unfinished run; continue with --resume, or delete the folder"
                )
            if json.loads(description.read_text()) != job:
                raise ValueError(f"{folder} has tiles of another job; delete it to start over")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(description, json.dumps(job))
        self.path = folder / "tiles.bin"
        self.path.touch()
        self.file = self.path.open("r+b", buffering=0)
        self.is_done = np.zeros(num_tiles, bool)
        self.is_blank = np.zeros(num_tiles, bool)  # probability 0 everywhere
        for index in range(num_tiles):
            content = self._read_record(index)
            self.is_done[index] = content is not None
            self.is_blank[index] = content is not None and not any(content)

    @property
    def record_bytes(self) -> int:
        return len(MARK) + CHECKSUM_BYTES + self.shape[0] * self.shape[1]

    def missing(self) -> Iterator[int]:
        """Numbers of the tiles without probabilities."""
        return (int(index) for index in np.flatnonzero(~self.is_done))

    def put(self, index: int, probability: np.ndarray) -> None:
        """Store a tile's probabilities (height, width) in [0, 1].

        Raises:
            OSError: they could not be written.
        """
        assert probability.shape == self.shape, f"{probability.shape} is not {self.shape}"
        content = np.rint(probability * LEVELS).astype(np.uint8).tobytes()
        record = MARK + _checksum(content) + content
        try:
            self.file.seek(index * self.record_bytes)
            if self.file.write(record) < len(record):  # the disk is full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(f"{self.path} could not be written: {error}") from error
        self.is_done[index], self.is_blank[index] = True, not any(content)

    def get(self, index: int) -> np.ndarray:
        """Probabilities (height, width) float32 in [0, 1] of a stored tile."""
        content = self._read_record(index)
        assert content is not None, f"{self.path} lacks tile {index}"
        return np.frombuffer(content, np.uint8).reshape(self.shape).astype(np.float32) / LEVELS

    def _read_record(self, index: int) -> bytes | None:
        """Read a tile's stored bytes; None if they are missing or incomplete."""
        self.file.seek(index * self.record_bytes)
        record = self.file.read(self.record_bytes)
        content = record[len(MARK) + CHECKSUM_BYTES :]
        return content if record == MARK + _checksum(content) + content else None

    def remove(self) -> None:
        """Delete the folder when the map is finished."""
        self.file.close()
        shutil.rmtree(self.folder)


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")
