"""RSVG-HR's text files: one triplet per line, ``image,x1,y1,x2,y2,sentence``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..defects import KEPT, DefectLog
from ..texts import parse_spreadsheet_line
from ..triplets import Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair, is_within

# An image's name ends in its target's category; the values are RRSIS-HR's names.
CATEGORY_OF_ENDING = {
    "sport_baseball": "baseball field",
    "sport_basketball": "basketball court",
    "leisure_track": "ground track field",
    "junction_roundabout": "roundabout",
    "sport_swimming": "swimming pool",
    "man_made_storage_tank": "storage tank",
    "sport_tennis": "tennis court",
}
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


def read_rsvg_hr(
    files: Mapping[str, Path], image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    Read RSVG-HR. The first five commas of a line separate fields, so a sentence may contain commas.
    If five numbers precede the sentence, a comma between whole numbers is a decimal comma: if
    exactly one such reading gives a box inside the image with its corners in order, it is used;
    otherwise the line is set aside.

    Args:
        files: text file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.
    """
    repair = Repair(image_sizes, log)
    triplets = []
    for split, file in files.items():
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            reader = _LineReader(Place(file, f"line {number}"), repair)
            triplet = reader.read(line, split) if line.strip() else None
            if triplet is not None:
                triplets.append(triplet)
    return triplets


class _LineReader:
    """Reads one line."""

    def __init__(self, place: Place, repair: Repair):
        self.place = place
        self.repair = repair

    def read(self, line: bytes, split: str) -> GroundedTriplet | None:
        fields = self._split(self._decode(line))
        image, category = fields[0], _find_category(fields[0])
        if category is None:
            self.repair.set_aside(self.place, "no category in the image's name", image)
            return None
        box = _parse_box(fields[1:5])
        if box is None or len(fields) < 6:
            self.repair.set_aside(self.place, "no four numbers", ",".join(fields[1:6]))
            return None
        sentence = ",".join(fields[5:])
        if len(fields) > 6 and NUMBER.fullmatch(fields[5].strip()):
            mended = self._mend_decimal_comma(image, fields[1:6])
            if mended is None:
                return None
            box, sentence = mended, ",".join(fields[6:])
        if "," in sentence:
            log = self.repair.log
            log.add(self.place.file, self.place.place, "comma inside a sentence", KEPT, sentence)
        return self.repair(
            self.place, image=image, box=box, sentence=sentence, category=category, split=split
        )

    def _split(self, line: str) -> list[str]:
        """Split a line into fields and remove a spreadsheet's quotes."""
        fields = parse_spreadsheet_line(line)
        if fields is None:
            return line.split(",")
        self.repair.report_repair(self.place, "quotes or unseen characters", line, fields)
        return fields

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
            self.repair.report_repair(self.place, "not UTF-8, read as latin-1", line, text)
            return text

    def _mend_decimal_comma(self, image: str, numbers: list[str]) -> Box | None:
        """The box that five numbers mean; None if that is ambiguous."""
        found_image = self.repair.find_image(self.place, image)
        if found_image is None:
            return None
        readings = [
            box for box in _list_decimal_comma_readings(numbers) if _is_inside(box, found_image[1])
        ]
        found = ",".join(numbers)
        if len(readings) != 1:
            self.repair.set_aside(self.place, "five numbers, no single reading", found)
            return None
        self.repair.report_repair(self.place, "decimal comma", found, readings[0])
        return readings[0]


def _find_category(image: str) -> str | None:
    """Find RRSIS-HR's category of an image of RSVG-HR from the ending of its name."""
    stem = Path(image).stem
    endings = (ending for ending in CATEGORY_OF_ENDING if stem.endswith(f"_{ending}"))
    ending = next(endings, None)
    return None if ending is None else CATEGORY_OF_ENDING[ending]


def _parse_box(fields: list[str]) -> Box | None:
    """Four fields as numbers, or None."""
    if len(fields) < 4 or not all(NUMBER.fullmatch(field.strip()) for field in fields):
        return None
    x1, y1, x2, y2 = map(float, fields)
    return x1, y1, x2, y2


def _list_decimal_comma_readings(numbers: list[str]) -> Iterator[Box]:
    """List every reading of five numbers as four, one with a decimal comma."""
    for position in range(4):
        whole, fraction = numbers[position].strip(), numbers[position + 1].strip()
        if whole.isdigit() and fraction.isdigit():
            joined = [*numbers[:position], f"{whole}.{fraction}", *numbers[position + 2 :]]
            box = _parse_box(joined)
            if box is not None:
                yield box


def _is_inside(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box has its corners in order and lies in an image of (height, width)."""
    return box[0] < box[2] and box[1] < box[3] and is_within(box, size)
