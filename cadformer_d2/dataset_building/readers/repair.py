"""Rules that repair defects of boxes and sentences or set the entries aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.masks import FARTHEST_COORDINATE
from ...data.plain_files import join_inside
from ..defects import KEPT, REPAIRED, SET_ASIDE, DefectLog
from ..texts import require_text, tidy_text
from ..triplets import Box, GroundedTriplet

# (height, width) of an image, turned as its EXIF data say, by its file name; None if the image is
# missing. Raises ValueError if it cannot be read.
ImageSizes = Callable[[str], tuple[int, int] | None]
# A box with a shorter side encloses nothing that can be segmented.
SMALLEST_SIDE = 1.0  # pixel


@dataclass(frozen=True)
class Place:
    """A place in a source file."""

    file: Path
    place: str

    def __str__(self) -> str:
        return f"{self.file.name}, {self.place}"


class Repair:
    """Applies the rules to one raw triplet after another and reports every change.

    Corners in the wrong order are sorted, boxes are clipped to the image, and texts are tidied (see
    ``tidy_text``). Entries are set aside if the image is missing, unreadable, outside its folder or
    not of the size that the source states; if the box has impossible coordinates or less than a
    pixel inside the image; if the sentence is empty; or if the triplet is a duplicate.
    """

    def __init__(self, image_sizes: ImageSizes, log: DefectLog):
        self.image_sizes = image_sizes
        self.log = log
        self.seen: set[tuple] = set()

    def __call__(
        self,
        place: Place,
        *,
        image: str,
        box: Box,
        sentence: Any,
        category: str,
        split: str,
        stated_size: tuple[int, int] | None = None,
    ) -> GroundedTriplet | None:
        """Repair a triplet; None if it was set aside.

        Args:
            sentence: of any type; anything but a text is set aside.
            stated_size: (height, width) of the image according to the source.
        """
        found = self.find_image(place, image)
        if found is None:
            return None
        image, size = found
        if not self._is_drawn_on(place, image, size, stated_size, box):
            return None
        mended_box = self._mend_box(place, box, size)
        mended_sentence = self.mend_text(place, "sentence", sentence)
        if mended_box is None or mended_sentence is None:
            return None
        triplet = GroundedTriplet(
            image, mended_box, mended_sentence, category, split, source=str(place)
        )
        identity = (image, mended_box, mended_sentence, split)
        if identity in self.seen:
            self.set_aside(place, "duplicate triplet", f"{image}: {mended_sentence}")
            return None
        self.seen.add(identity)
        return triplet

    def set_aside(self, place: Place, kind: str, detail: str) -> None:
        self.log.add(place.file, place.place, kind, SET_ASIDE, detail)

    def report_repair(self, place: Place, kind: str, found: object, made: object) -> None:
        self.log.add(place.file, place.place, kind, REPAIRED, f"{found} -> {made}")

    def find_image(self, place: Place, name: str) -> tuple[str, tuple[int, int]] | None:
        """Find an image's file name and size; None if it was set aside."""
        kind, detail = "missing image", name
        for candidate in dict.fromkeys((name, tidy_text(name))):
            try:
                join_inside(Path(), candidate)
                size = self.image_sizes(candidate)
            except ValueError as error:
                kind, detail = "unusable image", str(error)
                continue
            if size is not None:
                if candidate != name:
                    self.report_repair(place, "image's name not plain", repr(name), candidate)
                return candidate, size
        self.set_aside(place, kind, detail)
        return None

    def _is_drawn_on(
        self,
        place: Place,
        image: str,
        size: tuple[int, int],
        stated: tuple[int, int] | None,
        box: Box,
    ) -> bool:
        """Whether a box is in the pixels of this image; False if it was set aside.

        A source that states another size has boxes from a resized copy or, with swapped sides, from
        the image before its EXIF data turned it. Some programs state the size from before and boxes
        from after turning: then the box fits only the turned image.
        """
        if stated is None or stated == size:
            return True
        (height, width), (stated_height, stated_width) = size, stated
        detail = (
            f"{image} has {width} x {height} pixels (turned as its EXIF data say), but the source "
            f"says {stated_width} x {stated_height}"
        )
        is_turned = stated == size[::-1] and is_within(box, size) and not is_within(box, stated)
        if is_turned:
            self.log.add(place.file, place.place, "another image size", KEPT, detail)
        else:
            self.set_aside(place, "another image size", f"{detail}; correct box and size")
        return is_turned

    def _mend_box(self, place: Place, box: Box, size: tuple[int, int]) -> Box | None:
        if not all(abs(number) <= FARTHEST_COORDINATE for number in box):  # refuses NaN too
            self.set_aside(place, "coordinates of no image", str(box))
            return None
        ordered = _order_corners(box)
        if ordered != box:
            self.report_repair(place, "swapped corners", box, ordered)
        clipped = _clip_box(ordered, size)
        if min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < SMALLEST_SIDE:
            height, width = size
            detail = f"{ordered} in an image of {width} x {height}"
            self.set_aside(place, "box without area", detail)
            return None
        if clipped != ordered:
            self.report_repair(place, "box past the border", ordered, clipped)
        return clipped

    def mend_text(self, place: Place, what: str, text: Any) -> str | None:
        """Tidy a sentence or a name; None if it was set aside."""
        try:
            text = require_text(text)
        except ValueError as error:
            self.set_aside(place, f"{what} is not a text", str(error))
            return None
        mended = tidy_text(text)
        if not mended:
            self.set_aside(place, f"empty {what}", repr(text))
            return None
        if mended != text:
            is_spaces = mended == " ".join(text.split())
            kind = "repeated or outer spaces" if is_spaces else "quotes or unseen characters"
            self.report_repair(place, kind, repr(text), repr(mended))
        return mended


def is_within(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box, its corners in any order, lies in an image of (height, width)."""
    return _clip_box(box, size) == box


def _order_corners(box: Box) -> Box:
    """The box with x1 <= x2 and y1 <= y2."""
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _clip_box(box: Box, size: tuple[int, int]) -> Box:
    """The part of a box inside an image of (height, width)."""
    height, width = map(float, size)
    x1, y1, x2, y2 = box
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


def report_leakage(triplets: list[GroundedTriplet], log: DefectLog) -> None:
    """Report images and triplets that occur in several splits.

    Writing the dataset decides whether to allow it.
    """
    images: dict[str, GroundedTriplet] = {}
    whole: dict[tuple, GroundedTriplet] = {}
    leaking = set()
    for triplet in triplets:
        identity = (triplet.image, triplet.box_xyxy, triplet.sentence)
        same = whole.setdefault(identity, triplet)
        if same.split != triplet.split:
            _report_pair(same, triplet, "triplet in several splits", log)
        other = images.setdefault(triplet.image, triplet)
        if other.split != triplet.split and triplet.image not in leaking:
            leaking.add(triplet.image)
            _report_pair(other, triplet, "image in several splits", log)


def report_ambiguity(triplets: list[GroundedTriplet], log: DefectLog) -> None:
    """Report sentences that describe two boxes of one image."""
    first: dict[tuple[str, str], GroundedTriplet] = {}
    for triplet in triplets:
        other = first.setdefault((triplet.image, triplet.sentence), triplet)
        if other.box_xyxy != triplet.box_xyxy:
            _report_pair(other, triplet, "one sentence for two boxes", log)


def _report_pair(
    first: GroundedTriplet, second: GroundedTriplet, kind: str, log: DefectLog
) -> None:
    """Report what a triplet has in common with an earlier one; both are kept."""
    file, place = second.source.split(", ", 1)
    detail = f"{second.image}: {second.split}, and {first.split} in {first.source}"
    log.add(Path(file), place, kind, KEPT, detail)
