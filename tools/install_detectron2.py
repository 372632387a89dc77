#!/usr/bin/env python3
"""Make ``import detectron2`` work in the current environment, without a compiler.

Detectron2 is not published on PyPI and its Git build needs a C++ compiler. CADFormer uses none of
its compiled operators. So: an importable detectron2 (any build) is left alone; otherwise the
pure-Python part of Detectron2 0.6, which the PyPI wheel of LabGym carries as a sub-package under
Detectron2's own Apache-2.0 licence, is repacked as a wheel named ``detectron2`` and installed.

    python tools/install_detectron2.py                       install into this environment
    python tools/install_detectron2.py --wheel-only DIR      only write the wheel into DIR

Needs nothing beyond the standard library and pip.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SOURCE_PROJECT = "labgym"
SOURCE_VERSION = "3.1.2"
SOURCE_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"
SOURCE_PREFIX = "LabGym/detectron2/"

VERSION = "0.6"
WHEEL_NAME = f"detectron2-{VERSION}-py3-none-any.whl"
RUNTIME_REQUIREMENTS = (
    "cloudpickle",
    "fvcore",
    "hydra-core",
    "iopath",
    "matplotlib",
    "omegaconf",
    "pillow",
    "pycocotools",
    "tabulate",
    "tensorboard",
    "termcolor",
    "tqdm",
    "yacs",
)
METADATA = (
    "Metadata-Version: 2.1\n"
    "Name: detectron2\n"
    f"Version: {VERSION}\n"
    "Summary: Detectron2 without its compiled operators, repacked for cadformer_d2\n"
    "Author: FAIR\n"
    "License: Apache-2.0\n"
    "Project-URL: Homepage, https://github.com/facebookresearch/detectron2\n"
    "Requires-Python: >=3.8\n"
    + "".join(f"Requires-Dist: {name}\n" for name in RUNTIME_REQUIREMENTS)
    + "\n"
    "Detectron2 is copyright Facebook, Inc. and its affiliates, licensed under the Apache License\n"
    "2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n\n"
    f"Origin: the sub-package LabGym/detectron2 of the PyPI wheel {SOURCE_PROJECT} "
    f"{SOURCE_VERSION}\n(sha256 {SOURCE_SHA256}).\n"
    "Changes: the import prefix 'LabGym.detectron2' became 'detectron2'; nothing else.\n"
)
WHEEL_METADATA = (
    "Wheel-Version: 1.0\nGenerator: cadformer_d2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)
# A fixed time stamp makes the wheel reproducible: equal inputs, equal bytes.
ZIP_DATE = (2020, 1, 1, 0, 0, 0)


def is_detectron2_importable() -> bool:
    """Whether some detectron2 (upstream, compiled or repacked) is already installed."""
    return importlib.util.find_spec("detectron2") is not None


def run_pip(*arguments: str) -> None:
    """Run pip of this interpreter.

    Raises:
        SystemExit: pip failed; the message repeats the command and the end of pip's own output.
    """
    command = [sys.executable, "-m", "pip", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-8:])
        raise SystemExit(
            "Detectron2 could not be set up. 'import detectron2' found nothing, so this was tried: "
            f"pip {' '.join(arguments)}\nwhich failed with:\n{tail}\n"
            "Install any detectron2 build yourself (see its INSTALL.md) and run this again."
        )


def fetch_source_wheel(folder: Path) -> Path:
    """Download the one wheel that carries Detectron2's Python files into ``folder``."""
    run_pip(
        "download", "--quiet", "--no-deps", "--ignore-requires-python", "--only-binary=:all:",
        "--dest", str(folder), f"{SOURCE_PROJECT}=={SOURCE_VERSION}",
    )  # fmt: skip
    return next(folder.glob(f"{SOURCE_PROJECT}-{SOURCE_VERSION}-*.whl"))


def verify_checksum(wheel: Path, expected: str = SOURCE_SHA256) -> None:
    """Refuse a wheel that is not byte for byte the one this program was written for.

    Raises:
        SystemExit: the SHA-256 differs.
    """
    actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if actual != expected:
        raise SystemExit(
            f"{wheel.name}: SHA-256 is {actual}, expected {expected}. The download is damaged or "
            "the file was replaced; nothing was installed."
        )


def repack(source_wheel: Path, folder: Path) -> Path:
    """Write the ``detectron2`` wheel made from ``source_wheel`` into ``folder``.

    Raises:
        SystemExit: the source wheel holds no Detectron2 sub-package.
    """
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(source_wheel) as source:
        for name in source.namelist():
            if name.startswith(SOURCE_PREFIX) and name.endswith(".py"):
                text = source.read(name).decode("utf-8").replace("LabGym.detectron2", "detectron2")
                files["detectron2/" + name.removeprefix(SOURCE_PREFIX)] = text.encode("utf-8")
    if "detectron2/__init__.py" not in files:
        raise SystemExit(f"{source_wheel.name} holds no {SOURCE_PREFIX}; nothing was installed.")
    dist_info = f"detectron2-{VERSION}.dist-info"
    files[f"{dist_info}/METADATA"] = METADATA.encode()
    files[f"{dist_info}/WHEEL"] = WHEEL_METADATA.encode()
    files[f"{dist_info}/RECORD"] = wheel_record(files, dist_info).encode()

    target = folder / WHEEL_NAME
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name, ZIP_DATE), content, zipfile.ZIP_DEFLATED)
    return target


def wheel_record(files: dict[str, bytes], dist_info: str) -> str:
    """The RECORD file of a wheel: path, digest and size of every file, its own line empty."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    lines.append(f"{dist_info}/RECORD,,")
    return "\n".join(lines) + "\n"


def build_wheel(folder: Path) -> Path:
    """Fetch, verify and repack; returns the new wheel in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source_wheel = fetch_source_wheel(Path(scratch))
        verify_checksum(source_wheel)
        return repack(source_wheel, folder)


def install(constraints: str) -> None:
    """Build the wheel in a scratch folder and install it with its run-time needs."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(Path(scratch))
        run_pip("install", "--quiet", "--constraint", constraints, str(wheel))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--wheel-only", metavar="DIR", help="write the wheel there, install nothing"
    )
    arguments = parser.parse_args()
    if arguments.wheel_only:
        print(build_wheel(Path(arguments.wheel_only)))
        return
    if is_detectron2_importable():
        print("detectron2 is already importable; it is used as it is.")
        return
    install(str(Path(__file__).resolve().parent.parent / "constraints.txt"))
    print(f"detectron2 {VERSION} installed (pure Python part, repacked).")


if __name__ == "__main__":
    main()
