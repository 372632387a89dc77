"""Files that an installed Python package carries, such as the weights of a published model.

``package:NAME/path/inside`` names one in the config: NAME as in ``import NAME``. The package is
found, not imported, so none of its code runs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path, PurePosixPath

PREFIX = "package:"


def is_package_reference(reference: str) -> bool:
    return reference.startswith(PREFIX)


def find_package_file(reference: str) -> Path:
    """The file or folder that ``package:NAME/path/inside`` names.

    Raises:
        ValueError: not such a reference, or one that leaves the package.
        FileNotFoundError: the package is not installed, or carries no such file.
    """
    name, path = _split(reference)
    spec = importlib.util.find_spec(name)  # of a name without a dot: this imports nothing
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise FileNotFoundError(
            f"{reference}: no package {name!r} is installed; install it with pip, or correct the "
            "name (the one that Python imports, with underscores)"
        )
    for folder in map(Path, folders):
        if (folder / path).exists():
            return folder / path
    raise FileNotFoundError(f"{reference}: the package has no {path}; its folder is {folders[0]}")


def _split(reference: str) -> tuple[str, PurePosixPath]:
    """Name of the package and path inside it."""
    name, _, rest = reference.removeprefix(PREFIX).partition("/")
    path = PurePosixPath(rest)
    is_inside = not path.is_absolute() and ".." not in path.parts and "\\" not in rest
    if not is_package_reference(reference) or "\0" in rest or not is_inside:
        raise ValueError(
            f"{reference!r} does not name a file in a package: {PREFIX}NAME/path/inside"
        )
    if not name.replace("-", "_").isidentifier():
        raise ValueError(f"{reference!r}: {name!r} is no name of a package")
    return name, path
