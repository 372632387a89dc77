"""RSVG-HR's text files: one triplet a line, ``image,x1,y1,x2,y2,sentence``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..defects import KEPT, DefectLog
from ..texts import spreadsheet_fields
from ..triplets import Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair, is_within

# The image's name says what its target is; the right side is RRSIS-HR's name for it.
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
    The first five commas of a line separate fields, so a sentence may hold commas. Where five
    numbers precede the sentence, one comma between whole numbers is a decimal comma: if exactly one
    such reading gives a box with its corners in order inside the image, it is taken; otherwise the
    line is set aside.

    Args:
        files: text file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.
    """
    repair = Repair(image_sizes, log)
    triplets = []
    for split, file in files.items():
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            reader = LineReader(Place(file, f"line {number}"), repair)
            triplet = reader.read(line, split) if line.strip() else None
            if triplet is not None:
                triplets.append(triplet)
    return triplets


class LineReader:
    """Reads one line."""

    def __init__(self, place: Place, repair: Repair):
        self.place = place
        self.repair = repair

    def read(self, line: bytes, split: str) -> GroundedTriplet | None:
        fields = self.split(self.decoded(line))
        image, category = fields[0], category_of(fields[0])
        if category is None:
            self.repair.set_aside(self.place, "no category in the image's name", image)
            return None
        box = as_box(fields[1:5])
        if box is None or len(fields) < 6:
            self.repair.set_aside(self.place, "no four numbers", ",".join(fields[1:6]))
            return None
        sentence = ",".join(fields[5:])
        if len(fields) > 6 and NUMBER.fullmatch(fields[5].strip()):
            mended = self.without_decimal_comma(image, fields[1:6])
            if mended is None:
                return None
            box, sentence = mended, ",".join(fields[6:])
        if "," in sentence:
            log = self.repair.log
            log.add(self.place.file, self.place.place, "comma inside a sentence", KEPT, sentence)
        return self.repair(
            self.place, image=image, box=box, sentence=sentence, category=category, split=split
        )

    def split(self, line: str) -> list[str]:
        """Fields of a line, without the quotes of a spreadsheet."""
        fields = spreadsheet_fields(line)
        if fields is None:
            return line.split(",")
        self.repair.repaired(self.place, "quotes or unseen characters", line, fields)
        return fields

    def decoded(self, line: bytes) -> str:
        try:
            return line.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
            self.repair.repaired(self.place, "not UTF-8, read as latin-1", line, text)
            return text

    def without_decimal_comma(self, image: str, numbers: list[str]) -> Box | None:
        """The box that five numbers mean, or None where they do not say which."""
        found_image = self.repair.find_image(self.place, image)
        if found_image is None:
            return None
        readings = [
            box for box in decimal_comma_readings(numbers) if is_inside(box, found_image[1])
        ]
        found = ",".join(numbers)
        if len(readings) != 1:
            self.repair.set_aside(self.place, "five numbers, no single reading", found)
            return None
        self.repair.repaired(self.place, "decimal comma", found, readings[0])
        return readings[0]


def category_of(image: str) -> str | None:
    """RRSIS-HR's category of an image of RSVG-HR, from the ending of its name."""
    stem = Path(image).stem
    endings = (ending for ending in CATEGORY_OF_ENDING if stem.endswith(f"_{ending}"))
    ending = next(endings, None)
    return None if ending is None else CATEGORY_OF_ENDING[ending]


def as_box(fields: list[str]) -> Box | None:
    """Four fields as numbers, or None."""
    if len(fields) < 4 or not all(NUMBER.fullmatch(field.strip()) for field in fields):
        return None
    x1, y1, x2, y2 = map(float, fields)
    return x1, y1, x2, y2


def decimal_comma_readings(numbers: list[str]) -> Iterator[Box]:
    """Every reading of five numbers as four, one of which was written with a comma."""
    for position in range(4):
        whole, fraction = numbers[position].strip(), numbers[position + 1].strip()
        if whole.isdigit() and fraction.isdigit():
            joined = [*numbers[:position], f"{whole}.{fraction}", *numbers[position + 2 :]]
            box = as_box(joined)
            if box is not None:
                yield box


def is_inside(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box has its corners in order and lies in an image of (height, width)."""
    return box[0] < box[2] and box[1] < box[3] and is_within(box, size)
