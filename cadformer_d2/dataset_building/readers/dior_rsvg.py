"""DIOR-RSVG's XML files, with split files that count objects over all of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from ..defects import KEPT, DefectLog
from ..triplets import Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_dior_rsvg(
    annotations: Path, split_files: Mapping[str, Path], image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    An XML file describes an image: ``filename`` and ``object`` elements with ``name`` (category),
    ``bndbox`` and ``description`` (sentence). A line of a split file is the number of an object,
    from 0, over all objects of all XML files. The set's own loader counts in the order in which
    the file system lists the files; here it is the order of their names, which is that of a freshly
    unpacked archive and the same on every machine.

    Args:
        annotations: folder of the XML files.
        split_files: text file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        FileNotFoundError: no XML files.
        ValueError: a damaged XML file; every number after it would mean another object.
    """
    xml_files = sorted(annotations.glob("*.xml"))
    if not xml_files:
        raise FileNotFoundError(f"{annotations}: has no XML files; name the folder Annotations")
    splits = read_split_numbers(split_files, log)
    repair = Repair(image_sizes, log)
    triplets: list[GroundedTriplet] = []
    count = 0
    for file in xml_files:
        root = parsed(file)
        for position, element in enumerate(root.findall("object")):
            place = Place(file, f"object {position} (number {count})")
            triplet = read_object(place, root, element, splits.pop(count, None), repair)
            if triplet is not None:
                triplets.append(triplet)
            count += 1
    for number, split in splits.items():
        detail = f"{number}, but there are {count} objects"
        repair.set_aside(Place(split_files[split], f"number {number}"), "no such object", detail)
    return triplets


def read_split_numbers(split_files: Mapping[str, Path], log: DefectLog) -> dict[int, str]:
    """Split of each object's number; the first split that names it counts."""
    splits: dict[int, str] = {}
    for split, file in split_files.items():
        for line_number, line in enumerate(file.read_text().splitlines(), start=1):
            text = line.strip()
            if not text.isdigit():
                if text:
                    log.add(file, f"line {line_number}", "not a number", "set aside", text)
                continue
            number = int(text)
            if number in splits:
                detail = f"{text}: is in {splits[number]} already"
                log.add(file, f"line {line_number}", "object in two splits", "set aside", detail)
            else:
                splits[number] = split
    return splits


def parsed(file: Path) -> ET.Element:
    try:
        return ET.parse(file).getroot()
    except ET.ParseError as error:
        raise ValueError(f"{file}: not valid XML ({error}); fetch the file again") from error


def read_object(
    place: Place, root: ET.Element, element: ET.Element, split: str | None, repair: Repair
) -> GroundedTriplet | None:
    """One object's triplet, or None where it was set aside."""
    if split is None:
        repair.set_aside(place, "object in no split", element.findtext("description") or "")
        return None
    image = (root.findtext("filename") or "").strip()
    category = (element.findtext("name") or "").strip().lower()
    if not image or not category:
        repair.set_aside(place, "no image or category", f"{image!r}, {category!r}")
        return None
    box = box_of(element)
    if box is None:
        repair.set_aside(place, "no four numbers", ET.tostring(element, "unicode"))
        return None
    report_other_size(place, root, image, repair)
    sentence = element.findtext("description") or ""
    return repair(place, image=image, box=box, sentence=sentence, category=category, split=split)


def box_of(element: ET.Element) -> Box | None:
    try:
        x1, y1, x2, y2 = (float(element.findtext(f"bndbox/{name}") or "") for name in CORNERS)
    except ValueError:
        return None
    return x1, y1, x2, y2


def report_other_size(place: Place, root: ET.Element, image: str, repair: Repair) -> None:
    """Report an image whose size is not what its XML file says; the image is what counts."""
    stated = (root.findtext("size/height"), root.findtext("size/width"))
    actual = repair.image_sizes(image)
    if actual is not None and None not in stated and stated != tuple(map(str, actual)):
        detail = f"{image}: {stated} (height, width) in the file, the image has {actual}"
        repair.log.add(place.file, place.place, "another image size", KEPT, detail)
