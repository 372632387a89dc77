"""ISAT: one JSON file per image; polygons of a target share a group; higher layers cover lower."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ...data.validation import quote
from ..images import decode_mask
from ..outlines import Ring, trace_rings
from .items import (
    Answer,
    Point,
    ReviewImage,
    ReviewItem,
    Side,
    copy_image,
    make_answer_from_rings,
    read_labels,
    refuse_other_size,
)

# ISAT's category for a hole in the polygon below.
HOLE_CATEGORY = "__background__"
MOST_DIGITS = 18  # of a group's number


class _Object(TypedDict):
    category: str
    segmentation: list[Point]
    layer: Annotated[float, Field(allow_inf_nan=False)]
    group: NotRequired[int | Annotated[str, Field(max_length=MOST_DIGITS)] | None]


class _Information(TypedDict):
    height: NotRequired[Side | None]
    width: NotRequired[Side | None]


class _Labels(TypedDict):
    objects: list[_Object]
    info: NotRequired[_Information]


_LABELS = TypeAdapter(_Labels)


def export_isat(images: Sequence[ReviewImage], source: Path, folder: Path) -> None:
    """Write images and label files.

    Args:
        source: folder of the images.
        folder: exists.
    """
    for image in images:
        copy_image(image, source, folder)
        information = {
            "description": "ISAT",
            "folder": "",
            "name": image.shown_name,
            "width": image.width,
            "height": image.height,
            "depth": 3,
            "note": "",
        }
        objects = [entry for item in image.items for entry in _item_objects(item)]
        content = {"info": information, "objects": objects}
        (folder / image.label_file).write_text(json.dumps(content, indent=1, ensure_ascii=False))


def _item_objects(item: ReviewItem) -> Iterator[dict[str, Any]]:
    """A target's polygons, the largest in the lowest layer, with the sentence as note."""
    rings = sorted(trace_rings(decode_mask(item.mask)), key=lambda ring: -ring.area)
    for layer, ring in enumerate(rings, start=1):
        x, y = zip(*ring.points, strict=True)
        yield {
            "category": HOLE_CATEGORY if ring.is_hole else item.category,
            "group": item.number,
            "segmentation": [list(point) for point in ring.points],
            "area": ring.area,
            "layer": layer,
            "bbox": [min(x), min(y), max(x), max(y)],
            "iscrowd": False,
            "note": item.note,
        }


def import_isat(images: Sequence[ReviewImage], folder: Path) -> Iterator[Answer]:
    """Read the answers of every image with a label file.

    Raises:
        ValueError: a file has another image size, or an object belongs to no target, is not a
            polygon, or lies outside the image.
    """
    for image in images:
        path = folder / image.label_file
        if not path.is_file():
            continue
        rings: dict[int, list[Ring]] = {item.target_id: [] for item in image.items}
        labels = read_labels(path, _LABELS)
        refuse_other_size(path, image, labels.get("info", {}), "height", "width")
        for position, entry in enumerate(labels["objects"]):
            item = image.item(_parse_group(entry.get("group")))
            if item is None:
                numbers = ", ".join(str(item.number) for item in image.items)
                raise ValueError(
                    f"{path}: object {position} ({quote(entry['category'])}) has group "
                    f"{quote(entry.get('group'))}; this image's targets are {numbers}"
                )
            if len(entry["segmentation"]) < 3:
                raise ValueError(f"{path}: object {position} has fewer than three points")
            is_hole = entry["category"] == HOLE_CATEGORY
            ring = Ring(tuple(entry["segmentation"]), is_hole, layer=int(entry["layer"]))
            rings[item.target_id].append(ring)
        for item in image.items:
            yield make_answer_from_rings(path, image, item, rings[item.target_id])


def _parse_group(group: int | str | None) -> int | None:
    """ISAT writes a missing group as an empty text and, in some versions, numbers as texts."""
    if group is None or group == "":
        return None
    return int(group) if str(group).isdecimal() else -1
