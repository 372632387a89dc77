"""COCO segmentations of any kind -> one run-length mask of the image's size.

pycocotools' C code trusts its input, so everything is checked before the call: a coordinate that is
not a number or far away ends the process, and damaged runs are written past a buffer.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ..structures import Annotation, ReferRecord, RunLengthMask
from .validation import quote, validate

MOST_PIXELS = 2**28  # of an image; a mask takes a byte for each when it is decoded
# An outline may leave the image, for example if the image was cropped from a scene; the decoder
# keeps the part inside. It follows the outline in steps of a fifth of a pixel, at 20 bytes or more
# per step.
FARTHEST_COORDINATE = 1e6  # pixels from the image's corner
LONGEST_OUTLINE = 4e6  # pixels
MOST_DIGITS = 7  # of a compressed run, five bits each

Coordinate = Annotated[
    float, Field(ge=-FARTHEST_COORDINATE, le=FARTHEST_COORDINATE, allow_inf_nan=False)
]
_POLYGON = TypeAdapter(Annotated[list[Coordinate], Field(min_length=6)])


class _RunLengths(TypedDict):
    size: tuple[int, int]
    counts: Any


_RUN_LENGTHS = TypeAdapter(_RunLengths)
_PLAIN_COUNTS = TypeAdapter(list[Annotated[int, Field(ge=0, le=MOST_PIXELS)]])
_COMPRESSED_COUNTS = TypeAdapter(bytes)


def merge_segmentation(segmentation: Any, *, height: int, width: int) -> RunLengthMask:
    """Merge a COCO segmentation into one run-length mask, the union of its parts.

    Args:
        segmentation: an RLE dict, a list of RLE dicts (RRSIS-D) or a list of polygons, as read from
            a file; anything outside the image is cut off.
        height, width: of the image, pixels.

    Raises:
        ValueError: another structure, a mask that is not of the image's size, or an image that is
            too large.
    """
    is_size = all(isinstance(side, int) and side > 0 for side in (height, width))
    if not is_size or height * width > MOST_PIXELS:
        size = f"{quote(height)} x {quote(width)}"
        raise ValueError(f"an image of {size} pixels; at most {MOST_PIXELS} are supported")
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list):
        raise ValueError(f"segmentation is {quote(segmentation)}, expected RLE or polygons")
    if not parts:
        return _compress_runs([height * width], height, width)
    return coco_mask.merge([_convert_part(part, height, width) for part in parts])


def _convert_part(part: Any, height: int, width: int) -> RunLengthMask:
    """A compressed RLE of one RLE dict (compressed or not) or one polygon."""
    if isinstance(part, list):
        return _rasterize_polygon(part, height, width)
    if not isinstance(part, dict):
        raise ValueError(f"segmentation holds {quote(part)}, expected a list of polygons or RLEs")
    lengths = validate(_RUN_LENGTHS, part)
    if lengths["size"] != (height, width):
        raise ValueError(
            f"mask of size {list(lengths['size'])} (height, width) on an image of {[height, width]}"
        )
    # Given damaged runs, the decoder writes past its buffer or stops early; their sum must fit.
    is_plain = isinstance(lengths["counts"], list)
    counts = validate(_PLAIN_COUNTS if is_plain else _COMPRESSED_COUNTS, lengths["counts"])
    if (sum(counts) if is_plain else count_run_pixels(counts)) != height * width:
        raise ValueError(f"mask runs do not add up to {height} x {width} pixels")
    if is_plain:
        return _compress_runs(counts, height, width)
    return {"size": [height, width], "counts": counts}


def _rasterize_polygon(corners: list[Any], height: int, width: int) -> RunLengthMask:
    """Rasterize the part of a polygon that lies inside the image.

    Args:
        corners: x1, y1, x2, y2, ..., pixels.
    """
    corners = validate(_POLYGON, corners)
    if len(corners) % 2:
        raise ValueError(f"polygon of {len(corners)} numbers, expected an even count of 6 or more")
    outline = np.array(corners).reshape(-1, 2)
    length = np.abs(outline - np.roll(outline, 1, axis=0)).max(axis=1).sum()
    if length > LONGEST_OUTLINE:
        raise ValueError(
            f"polygon with an outline of {length:.0f} pixels, longer than {LONGEST_OUTLINE:.0f}; "
            "it is damaged"
        )
    return coco_mask.frPyObjects([corners], height, width)[0]


def _compress_runs(counts: list[int], height: int, width: int) -> RunLengthMask:
    """Compress plain run lengths, which must add up to the image, into an RLE."""
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def count_run_pixels(counts: bytes) -> int:
    """Count the pixels of COCO's compressed run lengths without decoding the mask.

    Five bits a character, least significant first, 0x20 marks "more follows", 0x10 of the last is
    the sign; from the fourth run on, a run is stored as its difference to the run before the last.

    Raises:
        ValueError: they are not compressed run lengths.
    """
    digits = np.frombuffer(counts, np.uint8) - 48  # what is below 48 becomes large
    if not len(digits) or digits.max() > 63:
        raise ValueError("mask runs are not compressed run lengths")
    if digits[-1] & 0x20:
        raise ValueError("mask runs end in the middle of a number")
    ends = np.flatnonzero(digits < 0x20) + 1
    starts = np.concatenate([[0], ends[:-1]])
    num_digits = ends - starts
    if num_digits.max() > MOST_DIGITS:
        raise ValueError("a mask run is longer than any image")
    places = np.arange(len(digits)) - np.repeat(starts, num_digits)
    runs = np.add.reduceat((digits & 0x1F).astype(np.int64) << 5 * places, starts)
    runs -= (digits[ends - 1] & 0x10 != 0) * (1 << 5 * num_digits)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    if runs.min() < 0:
        raise ValueError("a mask run has a negative length")
    return int(runs.sum())


def unite_targets(record: ReferRecord) -> RunLengthMask:
    """The union of a record's targets; empty without targets."""
    masks = [annotation["segmentation"] for annotation in record["annotations"]]
    if len(masks) == 1:
        return masks[0]
    if not masks:
        height, width = record["height"], record["width"]
        return _compress_runs([height * width], height, width)
    return coco_mask.merge(masks)


def make_annotation(mask: RunLengthMask, *, category_id: int) -> Annotation:
    """Make a Detectron2 annotation of a mask and its enclosing box."""
    from detectron2.structures import BoxMode  # here: masks are drawn without Detectron2, too

    return {
        "segmentation": mask,
        "bbox": mask_box_xyxy(mask),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": category_id,
        "iscrowd": 0,
    }


def mask_box_xyxy(mask: RunLengthMask) -> list[float]:
    """Box of a mask as x1, y1, x2, y2. The boxes in files follow two conventions."""
    x, y, width, height = coco_mask.toBbox(mask).tolist()
    return [x, y, x + width, y + height]
