"""Splits by blocks of neighbouring file numbers, so that crops of one place stay together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ..splitting import split_images
from ..triplets import Target


def split_by_blocks(
    targets: Sequence[Target], shares: Mapping[str, float], *, block: int, seed: int
) -> dict[str, str]:
    """A split for every image; images of one block share it.

    Args:
        targets: of all images.
        shares: of each split, adding up to 1.
        block: how many neighbouring numbers stay together; 1: every image for itself.
        seed: of the order in which equally good choices are made.

    Raises:
        ValueError: a block below one, or shares that do not add up to 1.
    """
    if block < 1:
        raise ValueError(f"a block of {block} images; one is the least")
    blocks = {target.image: block_of(target.image, block) for target in targets}
    splits = split_images(
        [replace(target, image=blocks[target.image]) for target in targets], shares, seed=seed
    )
    return {image: splits[name] for image, name in blocks.items()}


def block_of(image: str, block: int) -> str:
    """Which block an image belongs to, by the last number in its name; its name without one."""
    path = PurePosixPath(image)
    numbers = re.findall(r"\d+", path.stem)
    if not numbers or block == 1:
        return image
    stem = path.stem[: path.stem.rindex(numbers[-1])]
    return f"{path.parent}/{stem}{(int(numbers[-1]) - 1) // block}"
