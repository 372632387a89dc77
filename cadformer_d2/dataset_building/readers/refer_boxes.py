"""Boxes and sentences of a dataset that already has masks, to make new masks."""

from __future__ import annotations

from pathlib import Path

from ...data.annotation_files import read_annotation_files
from ...data.defect_report import DefectReport, UnusableRecordError
from ...data.masks import mask_box_xyxy
from ..defects import SET_ASIDE, DefectLog
from ..triplets import GroundedTriplet
from .repair import ImageSizes, Place, Repair


def read_refer_boxes(
    annotations: Path, image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """Read the enclosing boxes of the masks, and the sentences.

    Args:
        annotations: folder with ``refs(unc).p`` and ``instances.json``.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        FileNotFoundError, ValueError: the files are missing or damaged as a whole.
    """
    report = DefectReport(lenient=True)
    files = read_annotation_files(annotations, report)
    for kind, messages in report.offenders.items():
        for message in messages:
            log.add(files.refs_file, "an entry", kind, SET_ASIDE, message)
    repair = Repair(image_sizes, log)
    triplets = []
    for ref in files.refs:
        place = Place(files.refs_file, f"ref {ref['ref_id']}")
        try:
            targets = files.find_targets(ref)
        except UnusableRecordError as defect:
            repair.set_aside(place, defect.kind, str(defect))
            continue
        # Refs to several targets or to none are set aside above.
        (mask,) = targets.masks
        assert targets.category is not None, "a ref with a target has a category"
        x1, y1, x2, y2 = mask_box_xyxy(mask)
        for sentence in ref["sentences"]:
            triplet = repair(
                place,
                image=targets.image_name,
                box=(x1, y1, x2, y2),
                sentence=sentence.get("sent", ""),
                category=targets.category,
                split=ref["split"],
                stated_size=(targets.height, targets.width),
            )
            if triplet is not None:
                triplets.append(triplet)
    return triplets
