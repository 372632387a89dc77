"""Writing RefCOCO-format files in RRSIS-D's form."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ..structures import RunLengthMask, mask_to_json
from .annotation_files import INSTANCES_FILE, NO_ID, REFS_FILE
from .masks import mask_box_xyxy


def words_of(expression: str) -> list[str]:
    """Words without punctuation, as the papers count them."""
    return re.findall(r"[a-z0-9]+", expression.lower())


def category_entries(names: Sequence[str]) -> list[dict[str, Any]]:
    """The categories of instances.json, numbered from 1 in the given order."""
    return [{"id": position + 1, "name": name} for position, name in enumerate(names)]


def annotation_entry(
    ann_id: int, image_id: int, category_id: int, mask: RunLengthMask
) -> dict[str, Any]:
    """One entry of instances.json as in RRSIS-D: a list of one RLE, a box x1, y1, x2, y2."""
    return {
        "id": ann_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": [mask_to_json(mask)],
        "bbox": mask_box_xyxy(mask),
        "area": float(coco_mask.area(mask)),
        "iscrowd": 0,
    }


def sentence_entry(sent_id: int, text: str) -> dict[str, Any]:
    """One sentence of a ref."""
    return {"sent_id": sent_id, "sent": text, "raw": text, "tokens": words_of(text)}


def ref_entry(
    annotation: Mapping[str, Any],
    *,
    split: str,
    file_name: str,
    sentences: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """One ref about an annotation, with the annotation's id.

    Args:
        annotation: of ``annotation_entry``.
        split: train, val or test.
        file_name: of the image, inside JPEGImages.
        sentences: of ``sentence_entry``.
    """
    return {
        "ref_id": annotation["id"],
        "ann_id": annotation["id"],
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "split": split,
        "file_name": file_name,
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "sentences": list(sentences),
    }


def any_ref_entry(
    ref_id: int,
    ann_ids: Sequence[int],
    *,
    image_id: int,
    category_id: int,
    split: str,
    file_name: str,
    sentences: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """One ref about any number of annotations, as gRefCOCO has it: a list, [-1] for none.

    Args:
        ann_ids: of its targets, all about one image.
        category_id: of what the sentences ask for, also where nothing is there.
        split, file_name, sentences: as in ``ref_entry``.
    """
    annotation = {"id": ref_id, "image_id": image_id, "category_id": category_id}
    return {
        **ref_entry(annotation, split=split, file_name=file_name, sentences=sentences),
        "ann_id": list(ann_ids) or [NO_ID],
        "no_target": not ann_ids,
    }


def write_refer_files(
    folder: Path, *, refs: Sequence[Mapping[str, Any]], instances: Mapping[str, Any]
) -> None:
    """Write ``refs(unc).p`` and ``instances.json`` into an existing folder."""
    (folder / INSTANCES_FILE).write_text(json.dumps(instances))
    # Protocol 2, as the published files have it.
    (folder / REFS_FILE).write_bytes(pickle.dumps(list(refs), protocol=2))
