"""COCO masks in one file, for CVAT ("COCO 1.0") and other tools."""

from __future__ import annotations

import cmath
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ...data.masks import Coordinate, merge_segmentation
from ...data.refer_writer import category_entries
from ...data.validation import quote, validate
from ...structures import RunLengthMask, mask_to_json
from ..images import decode_mask, encode_mask
from ..outlines import Ring, paint_rings
from .items import (
    Answer,
    ReviewImage,
    ReviewItem,
    Side,
    copy_image,
    make_answer_from_mask,
    read_labels,
    refuse_other_size,
)

LABELS = "instances_default.json"  # the name that CVAT writes and expects
IMAGES = "images"
CVAT_LABELS = "cvat_labels.json"


class _Image(TypedDict):
    id: int | str
    file_name: str
    height: NotRequired[Side | None]
    width: NotRequired[Side | None]


class _Attributes(TypedDict):
    target: NotRequired[Any]
    # Degrees clockwise by which CVAT turns a rectangle about its centre; bbox is not turned.
    rotation: NotRequired[Annotated[float, Field(allow_inf_nan=False)] | None]


class _Annotation(TypedDict):
    id: int | str
    image_id: int | str
    segmentation: NotRequired[Any]  # see _paint_segmentation
    bbox: NotRequired[list[Coordinate] | None]  # x, y, width, height
    attributes: NotRequired[_Attributes | None]


class _Labels(TypedDict):
    images: list[_Image]
    annotations: list[_Annotation]


_LABELS = TypeAdapter(_Labels)
_POLYGONS = TypeAdapter(list[Annotated[list[Coordinate], Field(min_length=6)]])


def export_coco(images: Sequence[ReviewImage], source: Path, folder: Path) -> None:
    """Write images and one label file.

    Args:
        source: folder of the images.
        folder: exists.
    """
    names = sorted({item.category for image in images for item in image.items})
    content: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": category_entries(names),
    }
    (folder / IMAGES).mkdir()
    for image_id, image in enumerate(images, start=1):
        copy_image(image, source, folder / IMAGES)
        content["images"].append(
            {
                "id": image_id,
                "file_name": image.shown_name,
                "height": image.height,
                "width": image.width,
            }
        )
        for item in image.items:
            category_id = names.index(item.category) + 1
            content["annotations"].append(_item_annotation(item, image_id, category_id))
    (folder / LABELS).write_text(json.dumps(content))
    (folder / CVAT_LABELS).write_text(json.dumps([_cvat_label(name) for name in names], indent=1))


def _cvat_label(name: str) -> dict[str, Any]:
    """A label for CVAT's raw label editor, with the attributes of masks."""
    attributes = [
        {
            "name": attribute,
            "mutable": False,
            "input_type": "text",
            "default_value": "",
            "values": [""],
        }
        for attribute in ("target", "sentence")
    ]
    return {"name": name, "type": "any", "attributes": attributes}


def _item_annotation(item: ReviewItem, image_id: int, category_id: int) -> dict[str, Any]:
    """A target's mask; COCO and CVAT mark a run-length mask by ``iscrowd`` 1."""
    return {
        "id": item.target_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": mask_to_json(item.mask),
        "bbox": coco_mask.toBbox(item.mask).tolist(),
        "area": float(coco_mask.area(item.mask)),
        "iscrowd": 1,
        "attributes": {"target": str(item.target_id), "sentence": item.note},
    }


def import_coco(images: Sequence[ReviewImage], folder: Path) -> Iterator[Answer]:
    """Read the answers of every image in the label file.

    Tools renumber annotations. An annotation belongs to the target named by its attribute
    ``target`` or by its id, or else to the target of its image that it covers best.

    Raises:
        FileNotFoundError: no label file.
        ValueError: an annotation belongs to no target, has no area, or has another image size.
    """
    path = folder / LABELS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; put the tool's COCO export there")
    given = {image.shown_name: image for image in images}
    known = {str(item.target_id) for image in images for item in image.items}
    labels = read_labels(path, _LABELS)
    listed: dict[int | str, ReviewImage | None] = {}
    for entry in labels["images"]:
        if entry["id"] in listed:
            raise ValueError(f"{path}: two images have the id {quote(entry['id'])}")
        image = listed[entry["id"]] = given.get(entry["file_name"])
        if image is not None:
            refuse_other_size(path, image, entry, "height", "width")
    masks: dict[int, list[RunLengthMask]] = {
        item.target_id: [] for image in listed.values() if image for item in image.items
    }
    for entry in labels["annotations"]:
        image = listed.get(entry["image_id"])
        if image is None:
            raise ValueError(
                f"{path}: annotation {quote(entry['id'])} is of image {quote(entry['image_id'])}, "
                "which was not exported"
            )
        where = f"{path}: annotation {quote(entry['id'])} of {image.name}"
        mask = _read_mask(entry, image, where)
        item = _match_item(entry, mask, image, where, known)
        masks[item.target_id].append(mask)
    for image in filter(None, listed.values()):
        for item in image.items:
            parts = masks[item.target_id]
            if parts:
                yield make_answer_from_mask(path, item, decode_mask(coco_mask.merge(parts)))
            else:
                yield Answer(item, None, is_changed=True)


def _read_mask(entry: _Annotation, image: ReviewImage, where: str) -> RunLengthMask:
    """Read an annotation's mask, or its box, since CVAT writes a rectangle without an outline.

    Raises:
        ValueError: there is neither, or it is not a mask of the image.
    """
    outlines = entry.get("segmentation") or []
    box = entry.get("bbox") or []
    if not outlines and len(box) == 4 and min(box[2:]) > 0:
        outlines = [rotate_box(box, (entry.get("attributes") or {}).get("rotation") or 0.0)]
    if not outlines:
        raise ValueError(f"{where} has neither an outline nor a box")
    try:
        return _paint_segmentation(outlines, image.height, image.width)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _paint_segmentation(segmentation: Any, height: int, width: int) -> RunLengthMask:
    """Paint a COCO segmentation; its polygons are painted like those of every other tool.

    Raises:
        ValueError: it is not a segmentation.
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if any(isinstance(part, dict) for part in parts):
        return merge_segmentation(segmentation, height=height, width=width)
    rings = []
    for corners in validate(_POLYGONS, segmentation):
        if len(corners) % 2:
            raise ValueError(f"polygon of {len(corners)} numbers, expected an even count")
        points = tuple(zip(corners[::2], corners[1::2], strict=True))
        rings.append(Ring(points, is_hole=False))
    return encode_mask(paint_rings(rings, height, width))


def rotate_box(box: Sequence[float], degrees: float) -> list[float]:
    """Rotate a box (x, y, width, height) clockwise about its centre; returns x1, y1, x2, y2, ..."""
    x, y, width, height = box
    centre, corner = complex(x + width / 2, y + height / 2), complex(width / 2, height / 2)
    turn = cmath.rect(1, math.radians(degrees))  # clockwise, as y runs down
    half = (-corner, corner.conjugate(), corner, -corner.conjugate())
    corners = [centre + offset * turn for offset in half]
    return [number for point in corners for number in (point.real, point.imag)]


def _match_item(
    entry: _Annotation, mask: RunLengthMask, image: ReviewImage, where: str, known: set[str]
) -> ReviewItem:
    """Match an annotation to a target.

    Args:
        known: ids of the targets of all images.

    Raises:
        ValueError: it names a target of another image, or names none and covers none.
    """
    named = {str(entry["id"]), str((entry.get("attributes") or {}).get("target"))}
    for item in image.items:
        if str(item.target_id) in named:
            return item
    if named & known:
        raise ValueError(f"{where} names target {', '.join(named & known)} of another image")
    covered = coco_mask.iou([mask], [item.mask for item in image.items], [0] * len(image.items))[0]
    best = int(np.argmax(covered))
    if covered[best] <= 0:
        raise ValueError(f"{where} names no target and covers none")
    return image.items[best]
