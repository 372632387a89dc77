"""Doubtful masks out to the tools people have, and their answers back in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.validation import quote
from ...structures import RunLengthMask
from ..images import encoded
from ..judging import JudgedMask
from ..workspace import ACCEPTED, EDITED, REJECTED, Decision
from .coco import export_coco, import_coco
from .contact_sheet import export_contact_sheet, import_contact_sheet
from .isat import export_isat, import_isat
from .items import MANIFEST, Answer, ReviewImage, ReviewItem, read_manifest, write_manifest
from .labelme import export_labelme, import_labelme


@dataclass(frozen=True)
class ReviewTool:
    """How one tool is served: (images, folder of the images, folder) -> files, and back."""

    write: Callable[[Sequence[ReviewImage], Path, Path], None]
    read: Callable[[Sequence[ReviewImage], Path], Iterator[Answer]]


TOOLS = {
    "labelme": ReviewTool(export_labelme, import_labelme),
    "isat": ReviewTool(export_isat, import_isat),
    "coco": ReviewTool(export_coco, import_coco),
    "html": ReviewTool(export_contact_sheet, import_contact_sheet),
}


def review_images(
    judged: Sequence[JudgedMask], masks: Mapping[int, RunLengthMask] | None = None
) -> list[ReviewImage]:
    """Masks to look at, by image; images in the order in which the masks first name them.

    Args:
        judged: the worst first.
        masks: by target id, instead of the segmenter's.
    """
    groups: dict[str, list[JudgedMask]] = {}
    for entry in judged:
        groups.setdefault(entry.target.image, []).append(entry)
    return [
        review_image(position, group, masks or {})
        for position, group in enumerate(groups.values(), start=1)
    ]


def review_image(
    position: int, group: Sequence[JudgedMask], masks: Mapping[int, RunLengthMask]
) -> ReviewImage:
    height, width = group[0].record.mask["size"]
    items = (
        ReviewItem(
            target_id=entry.target.target_id,
            number=number,
            category=entry.target.category,
            sentences=entry.target.sentences,
            box_xyxy=entry.target.box_xyxy,
            mask=masks.get(entry.target.target_id, entry.record.mask),
            score=entry.verdict.score,
            reasons=entry.verdict.reasons,
        )
        for number, entry in enumerate(group, start=1)
    )
    return ReviewImage(group[0].target.image, position, height, width, tuple(items))


def export_review(images: Sequence[ReviewImage], *, tool: str, source: Path, folder: Path) -> None:
    """Write a folder for one tool.

    Args:
        tool: one of ``TOOLS``.
        source: folder of the images.
        folder: does not exist, or is empty: an annotator's work is not written over.

    Raises:
        ValueError: an unknown tool.
        FileExistsError: something is in the folder.
    """
    if tool not in TOOLS:
        raise ValueError(f"tool is {tool!r}; known tools: {', '.join(TOOLS)}")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name another folder for this review")
    folder.mkdir(parents=True, exist_ok=True)
    TOOLS[tool].write(images, source, folder)
    write_manifest(folder, tool, images)


def import_review(folder: Path) -> dict[int, Decision]:
    """An annotator's decisions from a folder that was exported and worked on.

    A mask left as it was is accepted, a changed one edited, one of which nothing is left rejected.
    Images whose label file is not there are undecided.

    Raises:
        FileNotFoundError, ValueError: the folder is not a review, or says what cannot be.
    """
    tool, images = read_manifest(folder)
    if tool not in TOOLS:
        raise ValueError(
            f"{folder / MANIFEST}: tool is {quote(tool)}; known tools: {', '.join(TOOLS)}"
        )
    return {
        answer.item.target_id: decision_of(answer) for answer in TOOLS[tool].read(images, folder)
    }


def decision_of(answer: Answer) -> Decision:
    if answer.mask is None:
        return Decision(REJECTED, None)
    return Decision(EDITED if answer.is_changed else ACCEPTED, encoded(answer.mask))
