"""LabelMe: one JSON file per image; polygons of a target share a group_id."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired

import cv2
import numpy as np
from pydantic import TypeAdapter
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
    make_answer_from_mask,
    make_answer_from_rings,
    read_labels,
    refuse_other_size,
)

# LabelMe has no holes: a polygon with this label clears its inside in its group.
HOLE_LABEL = "hole"
FORMAT_VERSION = "5.5.0"
CIRCLE_CORNERS = 72  # of the polygon that approximates a circle; its area is 0.1 % too small


class _Shape(TypedDict):
    label: str
    points: list[Point]
    shape_type: NotRequired[str | None]
    group_id: NotRequired[int | None]
    mask: NotRequired[str | None]  # a PNG in base64


class _Labels(TypedDict):
    shapes: list[_Shape]
    imageHeight: NotRequired[Side | None]
    imageWidth: NotRequired[Side | None]


_LABELS = TypeAdapter(_Labels)


def export_labelme(images: Sequence[ReviewImage], source: Path, folder: Path) -> None:
    """Write images and label files.

    Args:
        source: folder of the images.
        folder: exists.
    """
    for image in images:
        copy_image(image, source, folder)
        shapes = [shape for item in image.items for shape in _item_shapes(item)]
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


def _item_shapes(item: ReviewItem) -> Iterator[dict[str, Any]]:
    """A target's polygons, with the sentence as description."""
    for ring in trace_rings(decode_mask(item.mask)):
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
    """Read the answers of every image with a label file.

    Raises:
        ValueError: a file has another image size, or a shape belongs to no target, lies outside the
            image, or encloses nothing.
    """
    for image in images:
        path = folder / image.label_file
        if not path.is_file():
            continue
        rings: dict[int, list[Ring]] = {item.target_id: [] for item in image.items}
        masks: dict[int, list[np.ndarray]] = {item.target_id: [] for item in image.items}
        labels = read_labels(path, _LABELS)
        refuse_other_size(path, image, labels, "imageHeight", "imageWidth")
        for position, shape in enumerate(labels["shapes"]):
            where, item = f"{path}: shape {position}", image.item(shape.get("group_id"))
            if item is None:
                numbers = ", ".join(str(item.number) for item in image.items)
                raise ValueError(
                    f"{where} ({quote(shape['label'])}) has group_id "
                    f"{shape.get('group_id')}; this image's targets are {numbers}"
                )
            if _shape_kind(shape) == "mask":
                masks[item.target_id].append(_read_shape_mask(shape, image, where))
            else:
                rings[item.target_id].append(_shape_to_ring(shape, where))
        for item in image.items:
            answer = make_answer_from_rings(path, image, item, rings[item.target_id])
            parts = masks[item.target_id]
            if parts:
                polygons = [answer.mask] if answer.mask is not None else []
                drawn = np.logical_or.reduce([*parts, *polygons])
                answer = make_answer_from_mask(path, item, drawn)
            yield answer


def _shape_kind(shape: _Shape) -> str:
    """The kind of a shape; early versions of LabelMe had only polygons and named no kind."""
    return shape.get("shape_type") or "polygon"


def _shape_to_ring(shape: _Shape, where: str) -> Ring:
    """Convert a polygon, a rectangle's two corners, or a circle's centre and a point to a ring.

    Raises:
        ValueError: the shape encloses nothing.
    """
    kind, points = _shape_kind(shape), shape["points"]
    if kind == "rectangle" and len(points) >= 2:
        (x1, y1), (x2, y2) = points[0], points[-2 if len(points) == 4 else -1]
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif kind == "circle" and len(points) == 2:
        points = _circle_points(*points)
    elif kind != "polygon" or len(points) < 3:
        raise ValueError(
            f"{where} is a {quote(kind)[1:-1]} of {len(points)} points; draw polygons, rectangles, "
            "circles or masks"
        )
    return Ring(tuple(points), is_hole=shape["label"] == HOLE_LABEL)


def _circle_points(centre: Point, on_line: Point) -> list[Point]:
    radius = math.dist(centre, on_line)
    angles = np.arange(CIRCLE_CORNERS) * 2 * math.pi / CIRCLE_CORNERS
    return [
        (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        for angle in angles
    ]


def _read_shape_mask(shape: _Shape, image: ReviewImage, where: str) -> np.ndarray:
    """Read a mask that LabelMe's own models drew: a PNG and its first and last corner in pixels.

    Anything outside the image is cut off.

    Raises:
        ValueError: the PNG or a corner is missing, or it is a hole.
    """
    if shape["label"] == HOLE_LABEL:
        raise ValueError(f"{where} is a hole drawn as a mask; draw holes as polygons")
    text = shape.get("mask")
    if not shape["points"] or not text:
        raise ValueError(f"{where} is a mask without pixels or corners")
    part = _decode_png_mask(text, where)
    left, top = (round(number) for number in shape["points"][0])
    mask = np.zeros((image.height, image.width), bool)
    bottom, right = min(top + part.shape[0], image.height), min(left + part.shape[1], image.width)
    first_row, first_column = max(0, top), max(0, left)
    if first_row < bottom and first_column < right:
        inside = part[first_row - top : bottom - top, first_column - left : right - left]
        mask[first_row:bottom, first_column:right] = inside
    return mask


def _decode_png_mask(text: str, where: str) -> np.ndarray:
    """Decode a PNG in base64 to (height, width) bool."""
    try:
        content = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    except (ValueError, cv2.error) as error:
        raise ValueError(f"{where}: its mask cannot be read ({error})") from error
    if pixels is None:
        raise ValueError(f"{where}: its mask is not an image")
    return np.asarray(pixels) > 0
