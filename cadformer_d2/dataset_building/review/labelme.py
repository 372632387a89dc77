"""LabelMe: one JSON file an image, polygons of a target share a group_id."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..images import decoded
from ..outlines import Ring, mask_rings
from .items import (
    Answer,
    ReviewImage,
    ReviewItem,
    answer_of_mask,
    answer_of_rings,
    copy_image,
    read_entries,
)

# LabelMe has no holes: a polygon of this label empties what it encloses in its group.
HOLE_LABEL = "hole"
FORMAT_VERSION = "5.5.0"
REQUIRED = ("label", "points", "shape_type")


def export_labelme(images: Sequence[ReviewImage], source: Path, folder: Path) -> None:
    """Write images and label files.

    Args:
        source: folder of the images.
        folder: exists.
    """
    for image in images:
        copy_image(image, source, folder)
        shapes = [shape for item in image.items for shape in item_shapes(item)]
        content: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": image.shown_name,
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        (folder / image.label_file).write_text(json.dumps(content, indent=1))


def item_shapes(item: ReviewItem) -> Iterator[dict[str, Any]]:
    """A target's polygons; the sentence is their description."""
    for ring in mask_rings(decoded(item.mask)):
        yield {
            "label": HOLE_LABEL if ring.is_hole else item.category,
            "points": [list(point) for point in ring.points],
            "group_id": item.number,
            "description": item.note,
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }


def import_labelme(images: Sequence[ReviewImage], folder: Path) -> Iterator[Answer]:
    """Answers of every image whose label file is there.

    Raises:
        ValueError: a shape that belongs to no target, or of a kind that encloses nothing.
    """
    for image in images:
        path = folder / image.label_file
        if not path.is_file():
            continue
        rings: dict[int, list[Ring]] = {item.target_id: [] for item in image.items}
        masks: dict[int, list[np.ndarray]] = {item.target_id: [] for item in image.items}
        for position, shape in enumerate(read_entries(path, "shapes", REQUIRED)):
            item = image.item(shape.get("group_id"))
            if item is None:
                numbers = ", ".join(str(item.number) for item in image.items)
                raise ValueError(
                    f"{path}: shape {position} ({shape['label']!r}) has group_id "
                    f"{shape.get('group_id')}; this image's targets are {numbers}"
                )
            if shape["shape_type"] == "mask":
                masks[item.target_id].append(shape_mask(shape, image))
            else:
                rings[item.target_id].append(shape_ring(shape, f"{path}: shape {position}"))
        for item in image.items:
            answer = answer_of_rings(image, item, rings[item.target_id])
            parts = masks[item.target_id]
            if parts:
                polygons = [answer.mask] if answer.mask is not None else []
                answer = answer_of_mask(item, np.logical_or.reduce([*parts, *polygons]))
            yield answer


def shape_ring(shape: dict[str, Any], where: str) -> Ring:
    """A polygon, or the two corners of a rectangle, as a ring."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if shape["shape_type"] == "rectangle" and len(points) >= 2:
        (x1, y1), (x2, y2) = points[0], points[-2 if len(points) == 4 else -1]
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif shape["shape_type"] != "polygon" or len(points) < 3:
        raise ValueError(
            f"{where} is a {shape['shape_type']} of {len(points)} points; draw polygons, "
            "rectangles or masks"
        )
    return Ring(tuple(points), is_hole=shape["label"] == HOLE_LABEL)


def shape_mask(shape: dict[str, Any], image: ReviewImage) -> np.ndarray:
    """A mask that LabelMe's own models drew: a PNG, and the pixels of its first and last corner."""
    content = np.frombuffer(base64.b64decode(shape["mask"]), np.uint8)
    part = np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)).astype(bool)
    left, top = (int(round(number)) for number in shape["points"][0])
    mask = np.zeros((image.height, image.width), bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask
