"""What every tool exports to an annotator and imports back."""

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
from ..images import decode_mask
from ..outlines import Ring, paint_rings, trace_rings
from ..triplets import Box, ImageName
from ..workspace import Share, StoredMask, encode_counts

MANIFEST = "review.json"

Point = tuple[Coordinate, Coordinate]  # x, y in image pixels
Side = Annotated[int, Field(gt=0)]  # of an image, pixels


@dataclass(frozen=True)
class ReviewItem:
    """One target to review."""

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
    """An image with the targets to review, the worst first."""

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
        """The item of a number; without a number, the image's only item."""
        if number is None and len(self.items) == 1:
            return self.items[0]
        return next((item for item in self.items if item.number == number), None)

    @property
    def shown_name(self) -> str:
        """The image's name in the review; tools sort by name, so the worst comes first."""
        return f"{self.position:05d}_{Path(self.name).name}"

    @property
    def label_file(self) -> str:
        """Name of the label file beside the image, for tools with one file per image."""
        return str(Path(self.shown_name).with_suffix(".json"))


class _Manifest(TypedDict):
    tool: Text
    images: list[ReviewImage]


_MANIFEST = TypeAdapter(_Manifest)


@dataclass(frozen=True)
class Answer:
    """The answer of a tool's file about one target."""

    item: ReviewItem
    mask: np.ndarray | None  # (H, W) bool; None if it was deleted
    is_changed: bool


def write_manifest(folder: Path, tool: str, images: Sequence[ReviewImage]) -> None:
    """Write what was exported into the review's folder, so that answers can be read."""
    content = {"tool": tool, "images": [asdict(image) for image in images]}
    write_atomically(folder / MANIFEST, json.dumps(content, default=encode_counts))


def read_manifest(folder: Path) -> tuple[str, list[ReviewImage]]:
    """
    Returns:
        the tool, and what was exported.

    Raises:
        FileNotFoundError: the folder is not from the step 'export'.
        ValueError: the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; pass a folder from the step 'export'")
    try:
        content = validate(_MANIFEST, read_json(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); export the review again") from error
    return content["tool"], content["images"]


def copy_image(image: ReviewImage, source: Path, folder: Path) -> None:
    """Copy an image into the folder of its labels."""
    shutil.copyfile(source / image.name, folder / image.shown_name)


def read_labels(path: Path, schema: TypeAdapter) -> Any:
    """Read a tool's file with the types of the schema.

    Raises:
        ValueError: it does not fit; the message names the file and the first wrong place.
    """
    content = read_json(path)
    try:
        return validate(schema, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; was it saved by this tool?") from error


def refuse_other_size(path: Path, image: ReviewImage, entry: Mapping[str, Any], *keys: str) -> None:
    """Raise ValueError if labels were drawn on an image of another size than the exported one.

    Args:
        entry: holds the size in the file.
        keys: of height and width; a missing size counts as the image's.
    """
    size = (image.height, image.width)
    said = tuple(entry.get(key) or side for key, side in zip(keys, size, strict=True))
    if said != size:
        raise ValueError(
            f"{path}: drawn on an image of {said[0]} x {said[1]} pixels (height, width), but "
            f"{image.name} has {size[0]} x {size[1]}; open the exported image"
        )


def make_answer_from_rings(
    path: Path, image: ReviewImage, item: ReviewItem, rings: Iterable[Ring]
) -> Answer:
    """Make an answer from outlines; unchanged outlines give the same mask back.

    Raises:
        ValueError: an outline is damaged or outside the image; the message names the label file
            ``path``.
    """
    rings = list(rings)
    if not rings:
        return Answer(item, None, is_changed=True)
    size = (image.height, image.width)
    try:
        given, current = paint_rings(rings, *size), decode_mask(item.mask)
    except ValueError as error:
        raise ValueError(f"{path}: an outline of target {item.number}: {error}") from error
    if np.array_equal(given, paint_rings(trace_rings(current), *size)):
        return Answer(item, current, is_changed=False)
    return make_answer_from_mask(path, item, given)


def make_answer_from_mask(path: Path, item: ReviewItem, mask: np.ndarray) -> Answer:
    """Make an answer from a drawn mask (H, W) bool.

    Raises:
        ValueError: the drawing covers no pixel of the image, which is a slip rather than a verdict.
    """
    changed = not np.array_equal(mask, decode_mask(item.mask))
    if mask.any():
        return Answer(item, mask, changed)
    if changed:
        raise ValueError(
            f"{path}: the drawing of target {item.number} covers no pixel of the image; move it "
            "inside, or delete it to reject the target"
        )
    return Answer(item, None, changed)
