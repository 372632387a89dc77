"""ISAT: one JSON file an image, polygons of a target share a group, layers cover one another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ...data.validation import quote
from ..images import decoded
from ..outlines import Ring, mask_rings
from .items import (
    Answer,
    Point,
    ReviewImage,
    ReviewItem,
    Side,
    answer_of_rings,
    copy_image,
    read_labels,
    refuse_other_size,
)

# ISAT's own category for what is cut out of a polygon below.
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
        objects = [entry for item in image.items for entry in item_objects(item)]
        content = {"info": information, "objects": objects}
        (folder / image.label_file).write_text(json.dumps(content, indent=1, ensure_ascii=False))


def item_objects(item: ReviewItem) -> Iterator[dict[str, Any]]:
    """A target's polygons, the largest in the lowest layer; the sentence is their note."""
    rings = sorted(mask_rings(decoded(item.mask)), key=lambda ring: -ring.area)
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
    """Answers of every image whose label file is there.

    Raises:
        ValueError: a file drawn on another size, or an object that belongs to no target, is no
            polygon, or lies nowhere.
    """
    for image in images:
        path = folder / image.label_file
        if not path.is_file():
            continue
        rings: dict[int, list[Ring]] = {item.target_id: [] for item in image.items}
        labels = read_labels(path, _LABELS)
        refuse_other_size(path, image, labels.get("info", {}), "height", "width")
        for position, entry in enumerate(labels["objects"]):
            item = image.item(number_of(entry.get("group")))
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
            yield answer_of_rings(path, image, item, rings[item.target_id])


def number_of(group: int | str | None) -> int | None:
    """ISAT writes no group as an empty text, and in some versions a number as a text."""
    if group is None or group == "":
        return None
    return int(group) if str(group).isdecimal() else -1
