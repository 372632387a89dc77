#!/usr/bin/env python3
"""Fill a folder with wheels for a machine without network that already has torch.

    python tools/build_wheelhouse.py --python 3.12 --output wheelhouse

There: pip install --no-index --no-deps wheelhouse/*.whl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from install_detectron2 import build_wheel, run_pip

# What a node with torch, torchvision, transformers and OpenCV usually lacks.
BINARY = (
    "annotated-types",
    "cloudpickle",
    "hydra-core",
    "omegaconf",
    "portalocker",
    "pycocotools",
    "pydantic",
    "pydantic-core",
    "tabulate",
    "termcolor",
    "timm",
    "typing-inspection",
    "yacs",
)
# Published as source only, but without compiled code.
PURE_SOURCE = ("antlr4-python3-runtime", "fvcore", "iopath")
# The versions that everything was tested with; newer ones need not fit together.
TESTED = ("--constraint", str(Path(__file__).resolve().parent.parent / "constraints.txt"))
PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)) + (
    "manylinux2014_x86_64",
)


def build_wheelhouse(python: str, folder: Path) -> list[Path]:
    """Wheels for ``python`` (such as "3.12") on 64-bit Linux.

    Returns:
        the wheels in ``folder``.

    Raises:
        SystemExit: pip failed; the message repeats its command and output.
    """
    build_wheel(folder)
    for requirement in PURE_SOURCE:
        run_pip("wheel", "--quiet", *TESTED, "--no-deps", "--wheel-dir", str(folder), requirement)
    platforms = [part for name in PLATFORMS for part in ("--platform", name)]
    run_pip(
        "download", "--quiet", *TESTED, "--no-deps", "--only-binary=:all:", "--python-version",
        python, "--implementation", "cp", *platforms, "--dest", str(folder), *BINARY,
    )  # fmt: skip
    return sorted(folder.glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="3.12", help="version of the other machine's Python")
    parser.add_argument("--output", default="wheelhouse", help="folder to fill")
    arguments = parser.parse_args()
    for wheel in build_wheelhouse(arguments.python, Path(arguments.output)):
        print(wheel.name)


if __name__ == "__main__":
    main()
