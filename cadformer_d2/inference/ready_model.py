"""The trained model that comes with the project."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

NAME = "cadformer_lite_vhr10"
FILE = "model.safetensors"
DISTRIBUTION = "cadformer_d2"


def find_ready_model() -> Path:
    """Its folder: in ``model_zoo/`` of a clone, else where pip put it.

    Raises:
        FileNotFoundError: neither has it.
    """
    clone = Path(__file__).parents[2] / "model_zoo" / NAME
    if (clone / FILE).is_file():
        return clone
    for file in _installed_files():
        if file.parts[-3:] == ("model_zoo", NAME, FILE):
            return Path(str(file.locate())).resolve().parent
    raise FileNotFoundError(
        f"the ready model is missing: neither {clone} nor the installed package holds it; install "
        "the project from a complete clone, or name a checkpoint with --weights"
    )


def _installed_files() -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder that is not installed
        return []
