"""Sources of boxes and sentences -> ``GroundedTriplet``, with a report of every defect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..defects import DefectLog
from ..triplets import GroundedTriplet
from .coco_captions import read_coco_captions
from .dior_rsvg import read_dior_rsvg
from .refer_boxes import read_refer_boxes
from .repair import ImageSizes, report_ambiguity, report_leakage
from .rsvg_hr import read_rsvg_hr

FORMATS = ("rsvg-hr", "dior-rsvg", "coco", "refer")


def read_triplets(
    source_format: str,
    *,
    split_files: Mapping[str, Path],
    annotations: Path | None,
    image_sizes: ImageSizes,
) -> tuple[list[GroundedTriplet], DefectLog]:
    """Read a source of any known format.

    Args:
        source_format: one of ``FORMATS``.
        split_files: a file per split; of ``dior-rsvg`` they hold numbers, of ``refer`` none is
            needed.
        annotations: folder of the XML files (``dior-rsvg``) or of the two files (``refer``).
        image_sizes: see ``sizes_in_folder`` and ``fixed_size``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an unknown format, a missing argument, or a damaged file.
    """
    if source_format not in FORMATS:
        raise ValueError(f"format is {source_format!r}; known formats: {', '.join(FORMATS)}")
    needs_folder = source_format in ("dior-rsvg", "refer")
    if needs_folder != (annotations is not None):
        raise ValueError(f"{source_format} {'needs' if needs_folder else 'has no'} --annotations")
    if (source_format != "refer") != bool(split_files):
        verb = "has no" if source_format == "refer" else "needs"
        raise ValueError(f"{source_format} {verb} --split NAME=FILE")
    log = DefectLog()
    match source_format:
        case "rsvg-hr":
            triplets = read_rsvg_hr(split_files, image_sizes, log)
        case "coco":
            triplets = read_coco_captions(split_files, image_sizes, log)
        case "dior-rsvg":
            triplets = read_dior_rsvg(annotations, split_files, image_sizes, log)
        case _:
            triplets = read_refer_boxes(annotations, image_sizes, log)
    report_leakage(triplets, log)
    report_ambiguity(triplets, log)
    return triplets, log


def sizes_in_folder(folder: Path) -> ImageSizes:
    """Sizes of the image files of a folder, from their headers; each is opened once."""
    known: dict[str, tuple[int, int] | None] = {}

    def size_of(name: str) -> tuple[int, int] | None:
        if name not in known:
            path = folder / name
            known[name] = None
            if path.is_file():
                with Image.open(path) as image:
                    known[name] = (image.height, image.width)
        return known[name]

    return size_of


def fixed_size(height: int, width: int) -> ImageSizes:
    """One size for every image: for sources whose images are not at hand."""
    return lambda name: (height, width)
