"""What is given to an annotator, whatever the tool; and what comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_files import written_whole
from ...data.plain_files import read_json
from ...structures import RunLengthMask
from ..images import decoded
from ..outlines import Ring, mask_rings, paint
from ..workspace import as_text

MANIFEST = "review.json"


@dataclass(frozen=True)
class ReviewItem:
    """One target to look at."""

    target_id: int
    number: int  # in its image, from 1: the group an annotator sees
    category: str
    sentences: tuple[str, ...]
    box_xyxy: tuple[float, float, float, float]
    mask: RunLengthMask
    score: float  # in [0, 1], the lower the more doubtful
    reasons: tuple[str, ...]

    @property
    def note(self) -> str:
        """What an annotator reads beside the mask."""
        doubts = f" [{'; '.join(self.reasons)}]" if self.reasons else ""
        return f"{self.number}: {' / '.join(self.sentences)}{doubts}"


@dataclass(frozen=True)
class ReviewImage:
    """An image with the targets to look at, the worst first."""

    name: str  # in the folder of the images
    position: int  # among the images of the review, from 1
    height: int
    width: int
    items: tuple[ReviewItem, ...]

    def item(self, number: int | None) -> ReviewItem | None:
        """The item of a number; where the image has one item only, no number means that one."""
        if number is None and len(self.items) == 1:
            return self.items[0]
        return next((item for item in self.items if item.number == number), None)

    @property
    def shown_name(self) -> str:
        """The image's name in the review: tools show images by name, so the worst comes first."""
        return f"{self.position:05d}_{Path(self.name).name}"

    @property
    def label_file(self) -> str:
        """Where tools that write a file an image keep it, beside the image."""
        return str(Path(self.shown_name).with_suffix(".json"))


@dataclass(frozen=True)
class Answer:
    """What a tool's file says about one target."""

    item: ReviewItem
    mask: np.ndarray | None  # (H, W) bool; None where nothing is left of it
    is_changed: bool


def write_manifest(folder: Path, tool: str, images: Sequence[ReviewImage]) -> None:
    """Say in the review's folder what was given out, so that answers can be understood."""
    content = {"tool": tool, "images": [asdict(image) for image in images]}
    with written_whole(folder / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(content, default=as_text))


def read_manifest(folder: Path) -> tuple[str, list[ReviewImage]]:
    """
    Returns:
        the tool, and what was given out.

    Raises:
        FileNotFoundError: the folder is not one that the step 'export' made.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; name a folder that the step 'export' made")
    content = read_json(path)
    return content["tool"], [image_from(entry) for entry in content["images"]]


def image_from(entry: dict[str, Any]) -> ReviewImage:
    items = (
        ReviewItem(
            **{
                **item,
                "sentences": tuple(item["sentences"]),
                "box_xyxy": tuple(item["box_xyxy"]),
                "reasons": tuple(item["reasons"]),
            }
        )
        for item in entry["items"]
    )
    return ReviewImage(**{**entry, "items": tuple(items)})


def copy_image(image: ReviewImage, source: Path, folder: Path) -> None:
    """Put an image beside its labels."""
    shutil.copyfile(source / image.name, folder / image.shown_name)


def read_entries(path: Path, key: str, required: Iterable[str]) -> list[dict[str, Any]]:
    """The list that a tool's file has under a key.

    Raises:
        ValueError: there is none, or an entry lacks what is required; the message names it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise ValueError(f"{path}: has no list {key!r}; was it saved by this tool?")
    for position, entry in enumerate(content[key]):
        missing = sorted(set(required) - set(entry))
        if missing:
            raise ValueError(f"{path}: entry {position} of {key!r} lacks {missing[0]!r}")
    return content[key]


def answer_of_rings(image: ReviewImage, item: ReviewItem, rings: Iterable[Ring]) -> Answer:
    """An answer given as outlines; outlines left as they were give the very mask back."""
    rings = list(rings)
    if not rings:
        return Answer(item, None, is_changed=True)
    size = (image.height, image.width)
    given, current = paint(rings, *size), decoded(item.mask)
    if np.array_equal(given, paint(mask_rings(current), *size)):
        return Answer(item, current, is_changed=False)
    return answer_of_mask(item, given)


def answer_of_mask(item: ReviewItem, mask: np.ndarray) -> Answer:
    """An answer given as a mask (H, W) bool."""
    changed = not np.array_equal(mask, decoded(item.mask))
    return Answer(item, mask if mask.any() else None, is_changed=changed)
