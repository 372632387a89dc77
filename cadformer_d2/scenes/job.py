"""What is asked of every scene, and the key under which a scene's answer is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..atomic_files import write_atomically
from ..inference.tile_options import TileOptions
from ..version import __version__

DESCRIPTION = "job.json"
KEY_DIGITS = 16


@dataclass(frozen=True)
class Job:
    """The sentences, the model and the options of a call; a worker needs nothing else."""

    sentences: tuple[str, ...]
    weights: str  # checkpoint or folder, absolute
    checkpoint: str  # its hash
    output: Path  # folder, absolute; the same for all workers
    targets: str | None = None  # meant in a scene, "all" or "one"; None: as each sentence says
    tiles: TileOptions = TileOptions()
    bands: tuple[int, ...] | None = None  # of red, green and blue, from 1
    percentiles: tuple[float, float] | None = None  # stretched to black and white
    device: str | None = None
    dtype: str = "float32"
    batch_size: int = 1  # tiles in one forward pass
    is_compiled: bool = False
    num_threads: int | None = None  # of a worker on a CPU; None: torch's choice

    def describe(self) -> dict[str, Any]:
        """Everything that the answers depend on, beside the scene; for JSON."""
        return {
            "sentences": list(self.sentences),
            "checkpoint": self.checkpoint,
            "targets": self.targets,
            "tiles": asdict(self.tiles),
            "bands": self.bands and list(self.bands),
            "percentiles": self.percentiles and list(self.percentiles),
            "dtype": self.dtype,
            "version": __version__,
        }

    def key(self, scene_identity: dict[str, Any]) -> str:
        """The key of a scene's answer: the same on every machine and in every run.

        Args:
            scene_identity: what tells the scene's pixels, and how they are seen, from others.
        """
        content = json.dumps({**self.describe(), "identity": scene_identity}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:KEY_DIGITS]

    def prepare_output(self) -> None:
        """Make the output folder and write into it what is asked for.

        Raises:
            ValueError: the folder holds something else.
            OSError: it cannot be written.
        """
        description = self.output / DESCRIPTION
        if self.output.is_dir() and any(self.output.iterdir()) and not description.exists():
            raise ValueError(
                f"{self.output} has files and is no output of this command; name another folder"
            )
        self.output.mkdir(parents=True, exist_ok=True)
        write_atomically(description, self._description)

    def refuse_other_output(self) -> None:
        """Raise ValueError on a machine that does not see the output folder of the others."""
        description = self.output / DESCRIPTION
        if not description.is_file() or description.read_text() != self._description:
            raise ValueError(
                f"{self.output} is not one folder for all machines: {description.name} is missing "
                "or another one; name a folder on a disk that they share"
            )

    @property
    def _description(self) -> str:
        return json.dumps(self.describe(), indent=1)
