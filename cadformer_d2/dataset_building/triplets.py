"""Image, box and sentence: the content of visual grounding datasets of any format."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ..data.masks import Coordinate
from ..data.plain_files import join_inside
from ..data.validation import Text


def _check_name(name: str) -> str:
    """Return a file name if it stays inside its folder.

    Raises:
        ValueError: it leads out of the folder, or is not a valid file name.
    """
    join_inside(Path(), name)
    return name


# The types of fields that are read back from a file validate them.
ImageName = Annotated[Text, AfterValidator(_check_name)]
# x1, y1, x2, y2 in image pixels, x right and y down
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
UNKNOWN_CATEGORY = "object"
# 48 bits: two of 100,000 targets share an id with a chance of 2e-5, and JSON keeps it exactly.
ID_BYTES = 6


@dataclass(frozen=True)
class GroundedTriplet:
    """A sentence about the content of a box in an image."""

    image: ImageName  # inside the image folder
    box_xyxy: Box  # edges of the box: the pixel in column 3 lies between x 3 and x 4
    sentence: Text
    category: Text  # UNKNOWN_CATEGORY if the source has none
    split: Text  # train, val or test; "" if the source has none
    source: Text  # "file, place in it", for reports


@dataclass(frozen=True)
class Target:
    """One box with all its sentences; gets one mask."""

    target_id: int  # depends only on image, split and box
    image: str
    box_xyxy: Box
    category: str
    split: str
    sentences: tuple[str, ...]
    kinds: tuple[str, ...] = ()  # of each sentence, if the source knows them


def stable_id(*parts: object) -> int:
    """A positive number that depends only on the parts."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:ID_BYTES], "big")


def group_targets(triplets: Iterable[GroundedTriplet]) -> list[Target]:
    """One target per image, split and box, with its sentences; in the order of the triplets.

    Raises:
        ValueError: two targets got the same id; an image must be renamed.
    """
    groups: dict[tuple, list[GroundedTriplet]] = {}
    for triplet in triplets:
        groups.setdefault((triplet.image, triplet.split, triplet.box_xyxy), []).append(triplet)
    targets: dict[int, Target] = {}
    for (image, split, box), group in groups.items():
        target_id = stable_id(image, split, *box)
        if target_id in targets:
            raise ValueError(
                f"{image} and {targets[target_id].image} have targets with the same id, "
                f"{target_id}; rename one of the images"
            )
        sentences = tuple(dict.fromkeys(triplet.sentence for triplet in group))
        targets[target_id] = Target(target_id, image, box, group[0].category, split, sentences)
    return list(targets.values())


def group_by_image(targets: Iterable[Target]) -> dict[str, list[Target]]:
    """Group targets by image, sorted by name."""
    groups: dict[str, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.image, []).append(target)
    return dict(sorted(groups.items()))
