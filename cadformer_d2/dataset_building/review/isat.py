"""ISAT: one JSON file an image, polygons of a target share a group, layers cover one another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..images import decoded
from ..outlines import Ring, mask_rings
from .items import Answer, ReviewImage, ReviewItem, answer_of_rings, copy_image, read_entries

# ISAT's own category for what is cut out of a polygon below.
HOLE_CATEGORY = "__background__"
REQUIRED = ("category", "segmentation", "layer")


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
        ValueError: an object that belongs to no target, or is no polygon.
    """
    for image in images:
        path = folder / image.label_file
        if not path.is_file():
            continue
        rings: dict[int, list[Ring]] = {item.target_id: [] for item in image.items}
        for position, entry in enumerate(read_entries(path, "objects", REQUIRED)):
            item = image.item(entry.get("group"))
            if item is None:
                numbers = ", ".join(str(item.number) for item in image.items)
                raise ValueError(
                    f"{path}: object {position} ({entry['category']!r}) has group "
                    f"{entry.get('group')}; this image's targets are {numbers}"
                )
            if len(entry["segmentation"]) < 3:
                raise ValueError(f"{path}: object {position} has fewer than three points")
            points = tuple((float(x), float(y)) for x, y in entry["segmentation"])
            is_hole = entry["category"] == HOLE_CATEGORY
            rings[item.target_id].append(Ring(points, is_hole, layer=int(entry["layer"])))
        for item in image.items:
            yield answer_of_rings(image, item, rings[item.target_id])
