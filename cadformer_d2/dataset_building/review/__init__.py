"""Export of doubtful masks to annotation tools, and import of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.validation import quote
from ...structures import RunLengthMask
from ..images import encode_mask
from ..judging import JudgedMask
from ..workspace import ACCEPTED, EDITED, REJECTED, Decision
from .coco import export_coco, import_coco
from .contact_sheet import export_contact_sheet, import_contact_sheet
from .isat import export_isat, import_isat
from .items import MANIFEST, Answer, ReviewImage, ReviewItem, read_manifest, write_manifest
from .labelme import export_labelme, import_labelme


@dataclass(frozen=True)
class ReviewTool:
    """Export and import for one tool: (images, folder of the images, folder) -> files, and back."""

    write: Callable[[Sequence[ReviewImage], Path, Path], None]
    read: Callable[[Sequence[ReviewImage], Path], Iterator[Answer]]


TOOLS = {
    "labelme": ReviewTool(export_labelme, import_labelme),
    "isat": ReviewTool(export_isat, import_isat),
    "coco": ReviewTool(export_coco, import_coco),
    "html": ReviewTool(export_contact_sheet, import_contact_sheet),
}


def make_review_images(
    judged: Sequence[JudgedMask], masks: Mapping[int, RunLengthMask] | None = None
) -> list[ReviewImage]:
    """Group masks to review by image; images in the order of their first mask.

    Args:
        judged: the worst first.
        masks: by target id, to replace the segmenter's.
    """
    groups: dict[str, list[JudgedMask]] = {}
    for entry in judged:
        groups.setdefault(entry.target.image, []).append(entry)
    return [
        _make_review_image(position, group, masks or {})
        for position, group in enumerate(groups.values(), start=1)
    ]


def _make_review_image(
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
        folder: does not exist or is empty, so that no annotator's work is overwritten.

    Raises:
        ValueError: an unknown tool.
        FileExistsError: the folder is not empty.
    """
    if tool not in TOOLS:
        raise ValueError(f"tool is {tool!r}; known tools: {', '.join(TOOLS)}")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; choose another folder for this review")
    folder.mkdir(parents=True, exist_ok=True)
    TOOLS[tool].write(images, source, folder)
    write_manifest(folder, tool, images)


def import_review(folder: Path) -> dict[int, Decision]:
    """Read an annotator's decisions from an exported folder.

    An unchanged mask is accepted, a changed one edited, a deleted one rejected. Images without a
    label file are undecided.

    Raises:
        FileNotFoundError, ValueError: the folder is not a review, or its answers are invalid.
    """
    tool, images = read_manifest(folder)
    if tool not in TOOLS:
        raise ValueError(
            f"{folder / MANIFEST}: tool is {quote(tool)}; known tools: {', '.join(TOOLS)}"
        )
    return {
        answer.item.target_id: _make_decision(answer) for answer in TOOLS[tool].read(images, folder)
    }


def _make_decision(answer: Answer) -> Decision:
    if answer.mask is None:
        return Decision(REJECTED, None)
    return Decision(EDITED if answer.is_changed else ACCEPTED, encode_mask(answer.mask))
