"""The trained model that comes with the project."""

from __future__ import annotations

import sysconfig
from pathlib import Path

NAME = "cadformer_lite_vhr10"
FILE = "model.safetensors"
# Where a wheel puts it, below Python's folder for data; setup.cfg says so.
INSTALLED = Path("share/cadformer_d2/model_zoo") / NAME


def find_ready_model() -> Path:
    """Its folder: in ``model_zoo/`` of a clone, else where pip put it.

    Raises:
        FileNotFoundError: neither has it.
    """
    above = Path(__file__).parents[2]  # the root of a clone, or where packages are installed
    prefixes = list(above.parents)[2:3]  # of PREFIX/lib/python3.N/site-packages
    places = (
        above / "model_zoo" / NAME,
        Path(sysconfig.get_path("data")) / INSTALLED,
        above / INSTALLED,  # of pip install --target
        *(prefix / INSTALLED for prefix in prefixes),  # --prefix and --user
    )
    for folder in places:
        if (folder / FILE).is_file():
            return folder
    raise FileNotFoundError(
        f"the ready model is missing: it is in none of {', '.join(map(str, places[:2]))}; install "
        "the project from a complete clone, or name a checkpoint with --weights"
    )
