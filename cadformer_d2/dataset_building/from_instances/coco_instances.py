"""COCO instance files -> scenes, with everything that cannot be used reported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired

from pycocotools import mask as coco_mask
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ...data.annotation_files import Id, Name, Pixels
from ...data.masks import merge_segmentation
from ...data.plain_files import read_json
from ...data.validation import quote, validate
from ..defects import SET_ASIDE, DefectLog
from .observed import ObservedObject, ObservedScene, find_repeated

SizeOf = Callable[[str], tuple[int, int]]


class _Image(TypedDict):
    id: Id
    file_name: Name
    height: Pixels
    width: Pixels


class _Category(TypedDict):
    id: Id
    name: Name


class _Annotation(TypedDict):
    id: Id
    image_id: Id
    category_id: Id
    segmentation: Any  # see merge_segmentation
    iscrowd: NotRequired[int | bool]


_IMAGE, _CATEGORY = TypeAdapter(_Image), TypeAdapter(_Category)
_ANNOTATION = TypeAdapter(_Annotation)


def read_scenes(
    path: Path, *, not_exhaustive: Collection[str], size_of: SizeOf, log: DefectLog
) -> list[ObservedScene]:
    """
    Args:
        path: COCO instance file; segmentations may be polygons or run lengths.
        not_exhaustive: categories of which not every object is labelled, as the file or an
            expression spells them.
        size_of: (height, width) of an image file by its name, as it lies in its folder.
        log: receives what was set aside.

    Returns:
        scenes in the order of the file, without images that have no usable instance. Underscores
        of categories are spaces. An instance marked as a crowd makes its category incomplete in
        its image.

    Raises:
        OSError, ValueError: the file cannot be read or is no such file, or a category of
            ``not_exhaustive`` is not in it.
    """
    content = read_json(path)
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ValueError(f"{path}: has no list {name!r}; expected a COCO instance file")
    images = _by_id(content["images"], _IMAGE, "image", path, log)
    categories = {
        key: _spoken_name(entry["name"])
        for key, entry in _by_id(content["categories"], _CATEGORY, "category", path, log).items()
    }
    unlabelled = {_spoken_name(name) for name in not_exhaustive}
    if unknown := unlabelled - set(categories.values()):
        raise ValueError(
            f"{path}: has no category {', '.join(sorted(unknown))}; known: "
            f"{', '.join(sorted(categories.values()))}"
        )
    images = {key: entry for key, entry in images.items() if _is_as_said(entry, size_of, path, log)}
    found: dict[int, list[ObservedObject]] = {key: [] for key in images}
    crowded: dict[int, set[str]] = {key: set() for key in images}
    unusable: dict[int, set[str]] = {key: set() for key in images}
    annotations = _by_id(content["annotations"], _ANNOTATION, "annotation", path, log)
    for key, entry in annotations.items():
        try:
            image_id, seen = _observe(entry, images, categories)
        except ValueError as error:
            log.add(path, f"annotation {key}", "unusable annotation", SET_ASIDE, str(error))
            unusable.get(entry["image_id"], set()).add(categories.get(entry["category_id"], ""))
            continue
        if entry.get("iscrowd"):
            crowded[image_id].add(seen.category)
        else:
            found[image_id].append(seen)
    return [
        replace(
            _scene(images[key], objects, frozenset(unlabelled | crowded[key]), path, log),
            unusable=frozenset(unusable[key]),
        )
        for key, objects in found.items()
        if objects
    ]


def _spoken_name(name: str) -> str:
    """A category as an expression says it: lower case, spaces for underscores."""
    return " ".join(name.replace("_", " ").split()).lower()


def _by_id(
    entries: list, schema: TypeAdapter, what: str, path: Path, log: DefectLog
) -> dict[int, Any]:
    """Entries by their id; what does not fit the schema, and a second of an id, are set aside."""
    by_id: dict[int, Any] = {}
    for position, entry in enumerate(entries):
        try:
            usable = validate(schema, entry)
        except ValueError as error:
            log.add(path, f"{what}s entry {position}", f"unusable {what}", SET_ASIDE, str(error))
            continue
        if usable["id"] in by_id:
            log.add(path, f"{what} {usable['id']}", "id occurs twice", SET_ASIDE, quote(entry))
            continue
        by_id[usable["id"]] = usable
    return by_id


def _is_as_said(entry: dict, size_of: SizeOf, path: Path, log: DefectLog) -> bool:
    """Whether an image is there, in the size of its entry."""
    said = (entry["height"], entry["width"])
    try:
        size = size_of(entry["file_name"])
    except (OSError, ValueError) as error:
        log.add(path, f"image {entry['id']}", "unusable image", SET_ASIDE, str(error))
        return False
    if size != said:
        detail = f"{entry['file_name']} is {size} (height, width), its entry says {said}"
        log.add(path, f"image {entry['id']}", "image of another size", SET_ASIDE, detail)
    return size == said


def _observe(
    entry: dict, images: dict[int, Any], categories: dict[int, str]
) -> tuple[int, ObservedObject]:
    """
    Raises:
        ValueError: it points to an image or category that is not there, or its mask is unusable.
    """
    for what, known in (("image", images), ("category", categories)):
        if entry[f"{what}_id"] not in known:
            raise ValueError(f"points to {what} {entry[f'{what}_id']}, which cannot be used")
    image = images[entry["image_id"]]
    mask = merge_segmentation(entry["segmentation"], height=image["height"], width=image["width"])
    if coco_mask.area(mask) == 0:
        raise ValueError("its mask is empty")
    category = categories[entry["category_id"]]
    return entry["image_id"], ObservedObject(entry["id"], category, mask)


def _scene(
    image: dict,
    objects: list[ObservedObject],
    incomplete: frozenset[str],
    path: Path,
    log: DefectLog,
) -> ObservedScene:
    repeated = find_repeated(objects)
    for found in repeated:
        detail = f"nearly the mask of another {found.category} of {image['file_name']}"
        log.add(path, f"annotation {found.annotation_id}", "labelled twice", SET_ASIDE, detail)
    kept = tuple(found for found in objects if found not in repeated)
    return ObservedScene(image["file_name"], (image["height"], image["width"]), kept, incomplete)
