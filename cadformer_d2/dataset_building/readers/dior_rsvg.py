"""DIOR-RSVG's XML files, with split files that number the objects of all of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from ...data.plain_files import read_text
from ...data.validation import quote
from ..defects import SET_ASIDE, DefectLog
from ..texts import tidy_text
from ..triplets import Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NUMBER = re.compile(r"[0-9]{1,18}")


def read_dior_rsvg(
    annotations: Path, split_files: Mapping[str, Path], image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    Read DIOR-RSVG. An XML file describes an image: ``filename`` and ``object`` elements with
    ``name`` (category), ``bndbox`` and ``description`` (sentence). A line of a split file is the
    number of an object, from 0, over all XML files. The dataset's own loader counts in the order in
    which the file system lists the files; here it is the order of their names, which is that of a
    freshly unpacked archive and the same on every machine.

    Args:
        annotations: folder of the XML files.
        split_files: text file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        FileNotFoundError: no XML files.
        ValueError: an XML file is damaged; every later number would mean another object.
    """
    xml_files = sorted(annotations.glob("*.xml"))
    if not xml_files:
        raise FileNotFoundError(f"{annotations}: has no XML files; pass the folder Annotations")
    splits = _read_split_numbers(split_files, log)
    repair = Repair(image_sizes, log)
    triplets: list[GroundedTriplet] = []
    count = 0
    for file in xml_files:
        root = _parse_xml(file)
        for position, element in enumerate(root.findall("object")):
            place = Place(file, f"object {position} (number {count})")
            triplet = _read_object(place, root, element, splits.pop(count, None), repair)
            if triplet is not None:
                triplets.append(triplet)
            count += 1
    for number, split in splits.items():
        detail = f"{number}, but there are {count} objects"
        repair.set_aside(Place(split_files[split], f"number {number}"), "no such object", detail)
    return triplets


def _read_split_numbers(split_files: Mapping[str, Path], log: DefectLog) -> dict[int, str]:
    """Read the split of each object's number; the first split that lists it counts."""
    splits: dict[int, str] = {}
    for split, file in split_files.items():
        for line_number, line in enumerate(read_text(file).splitlines(), start=1):
            text = line.strip()
            if not NUMBER.fullmatch(text):
                if text:
                    log.add(file, f"line {line_number}", "not a number", SET_ASIDE, quote(text))
                continue
            number = int(text)
            if number in splits:
                detail = f"{text}: already in {splits[number]}"
                log.add(file, f"line {line_number}", "object in two splits", SET_ASIDE, detail)
            else:
                splits[number] = split
    return splits


def _parse_xml(file: Path) -> ET.Element:
    try:
        return ET.parse(file).getroot()
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two are about encodings
        raise ValueError(f"{file}: not valid XML ({error}); download the file again") from error


def _read_object(
    place: Place, root: ET.Element, element: ET.Element, split: str | None, repair: Repair
) -> GroundedTriplet | None:
    """Read one object's triplet; None if it was set aside."""
    if split is None:
        repair.set_aside(place, "object in no split", element.findtext("description") or "")
        return None
    image, name = root.findtext("filename") or "", element.findtext("name") or ""
    category = tidy_text(name).lower()
    if not image.strip() or not category:
        repair.set_aside(place, "no image or category", f"{quote(image)}, {quote(name)}")
        return None
    box = _parse_box(element)
    if box is None:
        corners = [element.findtext(f"bndbox/{name}") for name in CORNERS]
        repair.set_aside(place, "no four numbers", quote(corners))
        return None
    return repair(
        place,
        image=image.strip(),
        box=box,
        sentence=element.findtext("description") or "",
        category=category,
        split=split,
        stated_size=_parse_size(root),
    )


def _parse_box(element: ET.Element) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(element.findtext(f"bndbox/{name}") or "") for name in CORNERS)
    except ValueError:
        return None
    return x1, y1, x2, y2


def _parse_size(root: ET.Element) -> tuple[int, int] | None:
    """(height, width) of the image according to the file; None if it has no size."""
    height, width = ((root.findtext(f"size/{side}") or "").strip() for side in ("height", "width"))
    if not NUMBER.fullmatch(height) or not NUMBER.fullmatch(width):
        return None
    return int(height), int(width)
