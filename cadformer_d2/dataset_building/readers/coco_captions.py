"""COCO-format boxes with one or more captions each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ...data.annotation_files import Id, Name
from ...data.plain_files import read_json
from ...data.validation import Text, quote, validate
from ..defects import KEPT, DefectLog
from ..texts import parse_four_numbers
from ..triplets import UNKNOWN_CATEGORY, Box, GroundedTriplet
from .repair import ImageSizes, Place, Repair

Key = Id | Text  # some programs use names as ids


class _ImageEntry(TypedDict):
    id: Key
    file_name: Name
    height: NotRequired[int | None]
    width: NotRequired[int | None]


class _CategoryEntry(TypedDict):
    id: Key
    name: Name


class _AnnotationEntry(TypedDict):
    image_id: Key
    bbox: Any  # see _parse_box
    category_id: NotRequired[Key | None]
    caption: NotRequired[Any]  # see _list_captions
    captions: NotRequired[Any]


_IMAGE, _CATEGORY = TypeAdapter(_ImageEntry), TypeAdapter(_CategoryEntry)
_ANNOTATION = TypeAdapter(_AnnotationEntry)


def read_coco_captions(
    files: Mapping[str, Path], image_sizes: ImageSizes, log: DefectLog
) -> list[GroundedTriplet]:
    """
    Read COCO files. ``annotations[]`` have ``image_id``, ``bbox`` as x, y, width, height, and
    ``caption`` or ``captions``, each a text or a list of texts; ``images[]`` have ``id``,
    ``file_name`` and, if known, ``height`` and ``width``; ``categories`` are optional.

    Args:
        files: JSON file of each split.
        image_sizes: (height, width) by image name.
        log: receives every defect.

    Raises:
        ValueError: a file is not JSON, or has no ``images`` or ``annotations``.
    """
    repair = Repair(image_sizes, log)
    triplets: list[GroundedTriplet] = []
    for split, file in files.items():
        content = read_json(file)
        for key in ("images", "annotations"):
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise ValueError(f"{file}: has no list {key!r}; is it a COCO file?")
        categories = content.get("categories") or []
        if not isinstance(categories, list):
            raise ValueError(f"{file}: 'categories' is {quote(categories)}, expected a list")
        source = _CocoSource(file, repair)
        source.take_images(content["images"])
        source.take_categories(categories)
        for position, entry in enumerate(content["annotations"]):
            triplets += source.read_annotation(position, entry, split)
    return triplets


class _CocoSource:
    """One COCO file. Entries that do not fit their schema are set aside and reported."""

    def __init__(self, file: Path, repair: Repair):
        self.file = file
        self.repair = repair
        self.images: dict[int | str, _ImageEntry] = {}
        self.categories: dict[int | str, str] = {}

    def take_images(self, entries: list[Any]) -> None:
        for position, entry in enumerate(entries):
            image = self._validate_entry(_IMAGE, "image", position, entry)
            if image is not None and self._is_new(image["id"], self.images, "image"):
                self.images[image["id"]] = image

    def take_categories(self, entries: list[Any]) -> None:
        for position, entry in enumerate(entries):
            category = self._validate_entry(_CATEGORY, "category", position, entry)
            if category is None or not self._is_new(category["id"], self.categories, "category"):
                continue
            place = Place(self.file, f"category {quote(category['id'])}")
            name = self.repair.mend_text(place, "name", category["name"])
            if name is not None:
                self.categories[category["id"]] = name

    def read_annotation(self, position: int, entry: Any, split: str) -> Iterator[GroundedTriplet]:
        """Read the triplets of one annotation, one per caption, without those set aside."""
        annotation = self._validate_entry(_ANNOTATION, "annotation", position, entry)
        if annotation is None:
            return
        place = Place(self.file, _name_entry("annotation", position, entry))
        image, box = self.images.get(annotation["image_id"]), _parse_box(annotation["bbox"])
        if image is None:
            self.repair.set_aside(place, "no such image", quote(annotation["image_id"]))
            return
        if box is None:
            self.repair.set_aside(place, "no four numbers", quote(annotation["bbox"]))
            return
        category = self._find_category(place, annotation.get("category_id"))
        height, width = image.get("height"), image.get("width")
        for caption in _list_captions(annotation):
            triplet = self.repair(
                place,
                image=image["file_name"],
                box=box,
                sentence=caption,
                category=category,
                split=split,
                stated_size=None if height is None or width is None else (height, width),
            )
            if triplet is not None:
                yield triplet

    def _validate_entry(self, schema: TypeAdapter, what: str, position: int, entry: Any) -> Any:
        """The entry, or None if it does not fit and was set aside."""
        try:
            return validate(schema, entry)
        except ValueError as error:
            place = Place(self.file, _name_entry(what, position, entry))
            self.repair.set_aside(place, f"unusable {what}", str(error))
            return None

    def _is_new(self, key: int | str, known: Mapping[int | str, Any], what: str) -> bool:
        """Whether an id is the first of its kind; a second one is set aside."""
        if key in known:
            place = Place(self.file, f"{what} {quote(key)}")
            self.repair.set_aside(place, "id occurs twice", "the first one counts")
        return key not in known

    def _find_category(self, place: Place, key: int | str | None) -> str:
        if key is None:
            return UNKNOWN_CATEGORY
        if key not in self.categories and self.categories:
            detail = f"{quote(key)}, taken as {UNKNOWN_CATEGORY!r}"
            self.repair.log.add(place.file, place.place, "no such category", KEPT, detail)
        return self.categories.get(key, UNKNOWN_CATEGORY)


def _name_entry(what: str, position: int, entry: Any) -> str:
    """Name an entry by its id, or by its position from 0 if it has none."""
    key = entry.get("id") if isinstance(entry, dict) else None
    return f"{what} at position {position}" if key is None else f"{what} {quote(key)}"


def _list_captions(annotation: _AnnotationEntry) -> list[Any]:
    """The value of ``captions`` or else ``caption``, of any type, as a list."""
    found = annotation.get("captions") or annotation.get("caption") or ""
    return found if isinstance(found, list) else [found]


def _parse_box(bbox: Any) -> Box | None:
    """Convert COCO's x, y, width, height to corners; None if it is something else."""
    numbers = parse_four_numbers(bbox)
    if numbers is None:
        return None
    x, y, width, height = numbers
    return x, y, x + width, y + height
