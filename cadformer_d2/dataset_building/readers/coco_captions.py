"""COCO-format boxes with a caption or several captions each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.plain_files import read_json
from ..defects import DefectLog
from ..triplets import UNKNOWN_CATEGORY, Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair


def read_coco_captions(
    files: Mapping[str, Path], image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    ``annotations[]`` have ``image_id``, ``bbox`` as x, y, width, height, and ``caption`` (text) or
    ``captions`` (texts); ``images[]`` have ``id`` and ``file_name``; ``categories`` may be missing.

    Args:
        files: JSON file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        ValueError: a file that is not JSON, or lacks ``images`` or ``annotations``.
    """
    repair = Repair(image_sizes, log)
    triplets = []
    for split, file in files.items():
        content = read_json(file)
        for key in ("images", "annotations"):
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise ValueError(f"{file}: has no list {key!r}; is it a COCO file?")
        images = {image["id"]: image["file_name"] for image in content["images"]}
        names = {entry["id"]: entry["name"] for entry in content.get("categories", [])}
        for entry in content["annotations"]:
            place = Place(file, f"annotation {entry.get('id')}")
            triplets += read_annotation(place, entry, images, names, split, repair)
    return triplets


def read_annotation(
    place: Place,
    entry: Mapping[str, Any],
    images: Mapping[int, str],
    names: Mapping[int, str],
    split: str,
    repair: Repair,
) -> list[GroundedTriplet]:
    """Triplets of one annotation, one per caption; those set aside are left out."""
    image, box = images.get(entry.get("image_id", -1)), box_of(entry.get("bbox"))
    captions = entry.get("captions") or [entry.get("caption") or ""]
    if image is None:
        repair.set_aside(place, "no such image", str(entry.get("image_id")))
        return []
    if box is None:
        repair.set_aside(place, "no four numbers", str(entry.get("bbox")))
        return []
    category = names.get(entry.get("category_id", -1), UNKNOWN_CATEGORY)
    made = (
        repair(place, image=image, box=box, sentence=text, category=category, split=split)
        for text in captions
    )
    return [triplet for triplet in made if triplet is not None]


def box_of(bbox: Any) -> Box | None:
    """COCO's x, y, width, height as corners, or None where it is something else."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(number, (int, float)) for number in bbox):
        return None
    x, y, width, height = map(float, bbox)
    return x, y, x + width, y + height
