"""The boxes and sentences of a dataset that has masks already, to make its masks anew."""

from __future__ import annotations

from pathlib import Path

from ...data.masks import mask_box_xyxy, united_mask
from ...data.refer import ANNOTATION_KEYS, IMAGE_KEYS, REFS_FILE, read_annotation_files
from ..defects import DefectLog
from ..triplets import GroundedTriplet
from .repair import ImageSizes, Place, Repair


def read_refer_boxes(
    annotations: Path, image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    Args:
        annotations: folder with ``refs(unc).p`` and ``instances.json``. A box encloses a mask.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        FileNotFoundError, ValueError: the files are missing or damaged.
    """
    refs, instances = read_annotation_files(annotations)
    targets = {entry["id"]: entry for entry in instances["annotations"]}
    pictures = {entry["id"]: entry for entry in instances["images"]}
    names = {entry["id"]: entry["name"] for entry in instances["categories"]}
    repair = Repair(image_sizes, log)
    triplets = []
    for ref in refs:
        place = Place(annotations / REFS_FILE, f"ref {ref['ref_id']}")
        target, picture = targets.get(ref["ann_id"], {}), pictures.get(ref["image_id"], {})
        is_complete = set(target) >= ANNOTATION_KEYS and set(picture) >= IMAGE_KEYS
        if not is_complete or ref["category_id"] not in names:
            repair.set_aside(place, "ref without annotation, image or category", "")
            continue
        try:
            mask = united_mask(
                target["segmentation"], height=picture["height"], width=picture["width"]
            )
        except ValueError as error:
            repair.set_aside(place, "unreadable mask", str(error))
            continue
        x1, y1, x2, y2 = mask_box_xyxy(mask)
        for sentence in ref["sentences"]:
            triplet = repair(
                place,
                image=picture["file_name"],
                box=(x1, y1, x2, y2),
                sentence=sentence.get("sent", ""),
                category=names[ref["category_id"]],
                split=ref["split"],
            )
            if triplet is not None:
                triplets.append(triplet)
    return triplets
