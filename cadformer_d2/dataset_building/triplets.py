"""An image, a box and a sentence: what visual-grounding sets hold, whatever their format."""

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


def name_inside(name: str) -> str:
    """The name of a file in a folder as it is.

    Raises:
        ValueError: it leads out of the folder, or no file can have it.
    """
    join_inside(Path(), name)
    return name


# The types of fields that come back from a file say what is taken there.
ImageName = Annotated[Text, AfterValidator(name_inside)]
# x1, y1, x2, y2 in image pixels, x right and y down
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
UNKNOWN_CATEGORY = "object"
# 48 bits: two of 100,000 targets share an id with a chance of 2e-5, and JSON keeps it exactly.
ID_BYTES = 6


@dataclass(frozen=True)
class GroundedTriplet:
    """A sentence about what a box of an image encloses."""

    image: ImageName  # inside the image folder
    box_xyxy: Box  # edges of the box: the pixel in column 3 lies between x 3 and x 4
    sentence: Text
    category: Text  # UNKNOWN_CATEGORY where the source has none
    split: Text  # train, val or test; "" where the source has none
    source: Text  # "file, place in it", for reports


@dataclass(frozen=True)
class Target:
    """One box with all its sentences: what gets one mask."""

    target_id: int  # the same whenever image and box are, whatever else is in the dataset
    image: str
    box_xyxy: Box
    category: str
    split: str
    sentences: tuple[str, ...]
    kinds: tuple[str, ...] = ()  # of each sentence, where the source knows them


def stable_id(*parts: object) -> int:
    """A positive number that depends on the parts and on nothing else."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:ID_BYTES], "big")


def group_targets(triplets: Iterable[GroundedTriplet]) -> list[Target]:
    """One target per image, split and box, with its sentences; in the order of the triplets.

    Raises:
        ValueError: two targets got one id, which only another choice of file names can help.
    """
    groups: dict[tuple, list[GroundedTriplet]] = {}
    for triplet in triplets:
        groups.setdefault((triplet.image, triplet.split, triplet.box_xyxy), []).append(triplet)
    targets: dict[int, Target] = {}
    for (image, split, box), group in groups.items():
        target_id = stable_id(image, split, *box)
        if target_id in targets:
            raise ValueError(
                f"{image} and {targets[target_id].image} have targets of one id, {target_id}; "
                "rename one of the images"
            )
        sentences = tuple(dict.fromkeys(triplet.sentence for triplet in group))
        targets[target_id] = Target(target_id, image, box, group[0].category, split, sentences)
    return list(targets.values())


def by_image(targets: Iterable[Target]) -> dict[str, list[Target]]:
    """Targets of each image, images by name."""
    groups: dict[str, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.image, []).append(target)
    return dict(sorted(groups.items()))
