"""Hugging Face models on this machine, in folders and in the cache; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from .package_files import find_package_file, is_package_reference


def find_model_folder(reference: str, *, files: tuple[str, ...], key: str) -> Path:
    """The folder of a published model.

    Args:
        reference: a folder, "package:NAME/folder", or a Hugging Face name in the local cache.
        files: at least one of these lies in the folder; named in the message where none does.
        key: the config key that the reference comes from, for the message.

    Raises:
        FileNotFoundError: it is not on this machine.
        ValueError: no such reference into a package.
    """
    needed = " or ".join(files)
    path = Path(reference)
    if is_package_reference(reference):
        path = find_package_file(reference)
    if path.is_dir():
        if not any((path / file).is_file() for file in files):
            raise FileNotFoundError(f"{path}, which {key} names, holds no {needed}")
        return path
    if path.is_absolute() or reference.startswith((".", "~")):
        raise FileNotFoundError(
            f"{reference}, which {key} names, is missing; put it back, or name another place"
        )
    for file in files:
        if (cached := find_cached_file(reference, file)) is not None:
            return cached.parent
    raise FileNotFoundError(
        f"{key} is {reference!r}, which is neither a local folder nor in the Hugging Face cache. "
        f"It is published at https://huggingface.co/{reference}: download it once (for example "
        f"'hf download {reference}'), or name a folder that holds {needed}"
    )


def find_cached_file(name: str, file: str) -> Path | None:
    """A file of a published model in the Hugging Face cache; None where it is not there."""
    try:
        found = try_to_load_from_cache(name, file)
    except ValueError:  # the name of no repository
        return None
    return Path(found) if isinstance(found, str) else None
