"""What the network said of each tile of a scene, on disk until the map is put together."""

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

MARK = b"T"  # a record never written is a hole in the file: zeros
CHECKSUM_BYTES = 4
LEVELS = 255  # probabilities are kept in 8 bits


class TileStore:
    """One file of equal records: a mark, a checksum, and the tile's probabilities.

    Whatever a kill or a power cut leaves half-written fails its checksum and counts as missing, so
    that nothing has to wait for the disk.
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
            folder: of this job alone.
            job: what the tiles depend on, as JSON can hold it.
            num_tiles: of the scene.
            shape: (height, width) of what is said of a tile.
            resume: whether tiles that are there may be kept.

        Raises:
            ValueError: tiles of this job are there and ``resume`` is not set, or those of another.
            OSError: the folder cannot be written.
        """
        self.folder, self.shape = folder, shape
        description = folder / "job.json"
        if description.exists():
            if not resume:
                raise ValueError(
                    f"{folder} holds an unfinished run; go on with --resume, or delete it"
                )
            if json.loads(description.read_text()) != job:
                raise ValueError(f"{folder} holds tiles of another job; delete it to start anew")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(description, json.dumps(job))
        self.path = folder / "tiles.bin"
        self.path.touch()
        self.file = self.path.open("r+b", buffering=0)
        self.is_done = np.array([self.record(index) is not None for index in range(num_tiles)])

    @property
    def record_bytes(self) -> int:
        return len(MARK) + CHECKSUM_BYTES + self.shape[0] * self.shape[1]

    def missing(self) -> Iterator[int]:
        """Numbers of the tiles of which nothing has been said yet."""
        return (int(index) for index in np.flatnonzero(~self.is_done))

    def put(self, index: int, probability: np.ndarray) -> None:
        """Keep probabilities (height, width) in [0, 1] of a tile.

        Raises:
            OSError: they could not be written.
        """
        assert probability.shape == self.shape, f"{probability.shape} is not {self.shape}"
        content = np.rint(probability * LEVELS).astype(np.uint8).tobytes()
        record = MARK + checksum(content) + content
        try:
            self.file.seek(index * self.record_bytes)
            if self.file.write(record) < len(record):  # the disk took a part of it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(f"{self.path} could not be written: {error}") from error
        self.is_done[index] = True

    def get(self, index: int) -> np.ndarray:
        """Probabilities (height, width) float32 in [0, 1] of a tile that was put there."""
        content = self.record(index)
        assert content is not None, f"{self.path} lacks tile {index}"
        return np.frombuffer(content, np.uint8).reshape(self.shape).astype(np.float32) / LEVELS

    def record(self, index: int) -> bytes | None:
        """A tile's probabilities as they were put; None where they are not there whole."""
        self.file.seek(index * self.record_bytes)
        record = self.file.read(self.record_bytes)
        content = record[len(MARK) + CHECKSUM_BYTES :]
        return content if record == MARK + checksum(content) + content else None

    def remove(self) -> None:
        """Delete the folder; the map is finished."""
        self.file.close()
        shutil.rmtree(self.folder)


def checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")
