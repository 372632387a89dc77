"""RefSegRS: one mask image per expression, listed in text files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..structures import ReferRecord
from .defect_report import DefectReport
from .masks import make_annotation
from .plain_files import join_inside, read_text
from .refer import has_words
from .validation import quote

MASK_THRESHOLD = 127  # grey values above it are the target


def load_refsegrs_records(root: Path, *, split: str, lenient: bool = False) -> list[ReferRecord]:
    """Load the records of one split: each line of its list is a target with one expression.

    Args:
        root: folder with ``images/<id>.tif``, ``masks/<id>.tif`` and ``output_phrase_<split>.txt``,
            whose lines are ``<id> <expression>``.
        lenient: skip and count unusable lines instead of raising.

    Raises:
        FileNotFoundError: the list is missing.
        ValueError: the list is not UTF-8, or a line is unusable, or all are.
    """
    phrases = root / f"output_phrase_{split}.txt"
    if not phrases.is_file():
        raise FileNotFoundError(
            f"{phrases} is missing; see datasets/README.md for the expected tree"
        )
    report = DefectReport(lenient=lenient)
    records = []
    for number, line in enumerate(read_text(phrases).split("\n"), start=1):
        if not line.strip():
            continue
        name, _, expression = line.strip().partition(" ")
        try:
            records.append(_read_record(root, name, expression.strip(), number))
        except (ValueError, FileNotFoundError) as error:
            report.add("unusable lines", f"{phrases}, line {number}: {error}")
    report.log(f"refsegrs {split}")
    if not records:
        raise ValueError(f"{phrases}: has no usable line")
    return records


def _read_record(root: Path, name: str, expression: str, number: int) -> ReferRecord:
    """Read one line's record; the line number serves as ref id and sentence id."""
    if not has_words(expression):
        raise ValueError(f"{quote(name)} has an empty expression")
    image = join_inside(root / "images", f"{name}.tif")
    mask_file = root / "masks" / f"{name}.tif"
    if not image.is_file():
        raise FileNotFoundError(f"{image} is missing")
    try:
        grey = cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:  # more pixels than OpenCV takes
        raise ValueError(f"{mask_file} cannot be read: {error.err}") from error
    if grey is None:
        raise FileNotFoundError(f"{mask_file} is missing or not an image")
    target = np.asfortranarray(grey > MASK_THRESHOLD)
    if not target.any():
        raise ValueError(f"{mask_file} is empty")
    return {
        "file_name": str(image),
        "height": grey.shape[0],
        "width": grey.shape[1],
        "image_id": int(name) if name.isdecimal() else number,
        "ref_id": number,
        "sent_id": None,
        "sent_ids": [number],
        "expressions": [expression],
        "category_id": 0,
        "annotations": [make_annotation(coco_mask.encode(target), category_id=0)],
    }
