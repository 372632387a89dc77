"""What is given to an annotator, whatever the tool; and what comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ...atomic_files import write_atomically
from ...data.masks import Coordinate
from ...data.plain_files import read_json
from ...data.validation import Text, validate
from ..images import decoded
from ..outlines import Ring, mask_rings, paint
from ..triplets import Box, ImageName
from ..workspace import Share, StoredMask, as_text

MANIFEST = "review.json"

Point = tuple[Coordinate, Coordinate]  # x, y in image pixels
Side = Annotated[int, Field(gt=0)]  # of an image, pixels


@dataclass(frozen=True)
class ReviewItem:
    """One target to look at."""

    target_id: int
    number: int  # in its image, from 1: the group an annotator sees
    category: Text
    sentences: tuple[Text, ...]
    box_xyxy: Box
    mask: StoredMask
    score: Share  # the lower the more doubtful
    reasons: tuple[Text, ...]

    @property
    def note(self) -> str:
        """What an annotator reads beside the mask."""
        doubts = f" [{'; '.join(self.reasons)}]" if self.reasons else ""
        return f"{self.number}: {' / '.join(self.sentences)}{doubts}"


@dataclass(frozen=True)
class ReviewImage:
    """An image with the targets to look at, the worst first."""

    name: ImageName  # in the folder of the images
    position: int  # among the images of the review, from 1
    height: Side
    width: Side
    items: tuple[ReviewItem, ...]

    def __post_init__(self) -> None:
        for item in self.items:
            if list(item.mask["size"]) != [self.height, self.width]:
                raise ValueError(
                    f"target {item.target_id} has a mask of {list(item.mask['size'])} pixels "
                    f"(height, width) on an image of {[self.height, self.width]}"
                )

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


class _Manifest(TypedDict):
    tool: Text
    images: list[ReviewImage]


_MANIFEST = TypeAdapter(_Manifest)


@dataclass(frozen=True)
class Answer:
    """What a tool's file says about one target."""

    item: ReviewItem
    mask: np.ndarray | None  # (H, W) bool; None where nothing is left of it
    is_changed: bool


def write_manifest(folder: Path, tool: str, images: Sequence[ReviewImage]) -> None:
    """Say in the review's folder what was given out, so that answers can be understood."""
    content = {"tool": tool, "images": [asdict(image) for image in images]}
    write_atomically(folder / MANIFEST, json.dumps(content, default=as_text))


def read_manifest(folder: Path) -> tuple[str, list[ReviewImage]]:
    """
    Returns:
        the tool, and what was given out.

    Raises:
        FileNotFoundError: the folder is not one that the step 'export' made.
        ValueError: the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; name a folder that the step 'export' made")
    try:
        content = validate(_MANIFEST, read_json(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); export the review again") from error
    return content["tool"], content["images"]


def copy_image(image: ReviewImage, source: Path, folder: Path) -> None:
    """Put an image beside its labels."""
    shutil.copyfile(source / image.name, folder / image.shown_name)


def read_labels(path: Path, schema: TypeAdapter) -> Any:
    """What a tool's file says, with the types of the schema.

    Raises:
        ValueError: it does not fit; the message names the file and the first place that does not.
    """
    content = read_json(path)
    try:
        return validate(schema, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; was it saved by this tool?") from error


def refuse_other_size(path: Path, image: ReviewImage, entry: Mapping[str, Any], *keys: str) -> None:
    """Raise ValueError where labels were drawn on another size than the image given out.

    Args:
        entry: where the file says the size.
        keys: of height and width; a size that is not said is taken for the image's.
    """
    size = (image.height, image.width)
    said = tuple(entry.get(key) or side for key, side in zip(keys, size, strict=True))
    if said != size:
        raise ValueError(
            f"{path}: drawn on a picture of {said[0]} x {said[1]} pixels (height, width), "
            f"{image.name} has {size[0]} x {size[1]}; open the picture that was given out"
        )


def answer_of_rings(
    path: Path, image: ReviewImage, item: ReviewItem, rings: Iterable[Ring]
) -> Answer:
    """An answer given as outlines; outlines left as they were give the very mask back.

    Raises:
        ValueError: an outline that is damage, or nothing inside the image; the message names the
            label file ``path``.
    """
    rings = list(rings)
    if not rings:
        return Answer(item, None, is_changed=True)
    size = (image.height, image.width)
    try:
        given, current = paint(rings, *size), decoded(item.mask)
    except ValueError as error:
        raise ValueError(f"{path}: an outline of target {item.number}: {error}") from error
    if np.array_equal(given, paint(mask_rings(current), *size)):
        return Answer(item, current, is_changed=False)
    return answer_of_mask(path, item, given)


def answer_of_mask(path: Path, item: ReviewItem, mask: np.ndarray) -> Answer:
    """An answer given as a mask (H, W) bool that somebody drew.

    Raises:
        ValueError: what was drawn has no pixel of the image, which is a slip rather than a verdict.
    """
    changed = not np.array_equal(mask, decoded(item.mask))
    if mask.any():
        return Answer(item, mask, changed)
    if changed:
        raise ValueError(
            f"{path}: what is drawn for target {item.number} covers no pixel of the image; move it "
            "inside, or delete it to reject the target"
        )
    return Answer(item, None, changed)
