"""COCO segmentations of any kind -> one run-length mask of the image's size."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask

from ..structures import Annotation, RunLengthMask


def united_mask(segmentation: Any, *, height: int, width: int) -> RunLengthMask:
    """One run-length mask of a COCO segmentation; overlapping parts are united.

    Args:
        segmentation: an RLE dict, a list of RLE dicts (RRSIS-D), or a list of polygons.
        height, width: of the image, pixels.

    Raises:
        ValueError: another structure, or a mask of another size than the image.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list):
        raise ValueError(f"segmentation is a {type(parts).__name__}, expected RLE or polygons")
    if not parts:
        return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
    for part in parts:
        if isinstance(part, dict) and list(part.get("size", [])) != [height, width]:
            raise ValueError(
                f"mask of size {part.get('size')} (height, width) on an image of {[height, width]}"
            )
        if not isinstance(part, dict) and (len(part) < 6 or len(part) % 2):
            raise ValueError(f"polygon of {len(part)} numbers, expected an even count of 6 or more")
    try:
        return coco_mask.merge([single_mask(part, height, width) for part in parts])
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"segmentation could not be decoded ({error})") from error


def single_mask(part: Any, height: int, width: int) -> RunLengthMask:
    """A compressed RLE of one RLE dict (compressed or not) or one polygon."""
    if not isinstance(part, dict):
        return coco_mask.frPyObjects([part], height, width)[0]
    runs = part["counts"].encode() if isinstance(part["counts"], str) else part["counts"]
    # The decoder of damaged runs writes past its buffer or stops early; their sum must fit.
    if not covers(runs, height * width):
        raise ValueError(f"its runs do not add up to {height} x {width} pixels")
    if isinstance(runs, list):
        return coco_mask.frPyObjects(part, height, width)
    return {"size": [height, width], "counts": runs}


def covers(runs: list[int] | bytes, pixels: int) -> bool:
    """Whether run lengths, plain or compressed, are those of a mask of so many pixels."""
    if isinstance(runs, list):
        return min(runs, default=0) >= 0 and sum(runs) == pixels
    return run_total(runs) == pixels


def run_total(counts: bytes) -> int:
    """Pixels covered by COCO's compressed run lengths, without decoding the mask.

    Five bits a character, least significant first, 0x20 marks "more follows"; from the third run
    on, a run is stored as its difference to the run before the last.
    """
    runs: list[int] = []
    position = 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(counts):
                raise ValueError("its runs end in the middle of a number")
            bits = counts[position] - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            position, shift = position + 1, shift + 5
            if not more and bits & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            raise ValueError("it has a run of negative length")
    return sum(runs)


def annotation_of(mask: RunLengthMask, *, category_id: int) -> Annotation:
    """A mask as Detectron2's annotation, with the box that encloses it."""
    return {
        "segmentation": mask,
        "bbox": mask_box_xyxy(mask),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": category_id,
        "iscrowd": 0,
    }


def mask_box_xyxy(mask: RunLengthMask) -> list[float]:
    """Box of a mask as x1, y1, x2, y2. The files' own boxes come in two conventions."""
    x, y, width, height = coco_mask.toBbox(mask).tolist()
    return [x, y, x + width, y + height]
