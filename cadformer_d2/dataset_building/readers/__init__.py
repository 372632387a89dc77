"""Readers of boxes and sentences -> ``GroundedTriplet``, with a report of every defect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...data.image_file import read_image_size
from ...data.plain_files import join_inside
from ..defects import DefectLog
from ..triplets import GroundedTriplet
from .coco_captions import read_coco_captions
from .dior_rsvg import read_dior_rsvg
from .refer_boxes import read_refer_boxes
from .repair import ImageSizes, report_ambiguity, report_leakage
from .rsvg_hr import read_rsvg_hr

READERS_OF_FILES = {"rsvg-hr": read_rsvg_hr, "coco": read_coco_captions}
FORMATS = (*READERS_OF_FILES, "dior-rsvg", "refer")


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
        split_files: a file per split; for ``dior-rsvg`` they contain numbers, ``refer`` needs none.
        annotations: folder of the XML files (``dior-rsvg``) or of the two files (``refer``).
        image_sizes: from ``read_sizes_in_folder`` or ``fixed_size``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an unknown format, a missing argument, or a damaged file.
    """
    log = DefectLog()
    if source_format in READERS_OF_FILES:
        if annotations is not None or not split_files:
            raise ValueError(f"{source_format} needs --split NAME=FILE and takes no --annotations")
        triplets = READERS_OF_FILES[source_format](split_files, image_sizes, log)
    elif source_format == "dior-rsvg":
        if annotations is None or not split_files:
            raise ValueError("dior-rsvg needs --split NAME=FILE and --annotations FOLDER")
        triplets = read_dior_rsvg(annotations, split_files, image_sizes, log)
    elif source_format == "refer":
        if annotations is None or split_files:
            raise ValueError("refer needs --annotations FOLDER and takes no --split")
        triplets = read_refer_boxes(annotations, image_sizes, log)
    else:
        raise ValueError(f"format is {source_format!r}; known formats: {', '.join(FORMATS)}")
    report_leakage(triplets, log)
    report_ambiguity(triplets, log)
    return triplets, log


def read_sizes_in_folder(folder: Path) -> ImageSizes:
    """Read image sizes in a folder, after turning as EXIF data say; opens each file once."""
    known: dict[str, tuple[int, int] | None] = {}

    def size_of(name: str) -> tuple[int, int] | None:
        if name not in known:
            path = join_inside(folder, name)
            known[name] = read_image_size(path) if path.is_file() else None
        return known[name]

    return size_of


def fixed_size(height: int, width: int) -> ImageSizes:
    """One size for every image, for sources without their images."""
    return lambda name: (height, width)
