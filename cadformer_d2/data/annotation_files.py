"""The two files of a RefCOCO-format dataset, validated and joined by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from ..structures import RunLengthMask
from .defect_report import DefectReport, UnusableRecordError
from .masks import merge_segmentation
from .plain_files import read_json
from .plain_pickle import read_plain_pickle
from .validation import Text, quote, validate

REFS_FILE, INSTANCES_FILE = "refs(unc).p", "instances.json"
GREFS_FILE = "grefs(unc).json"  # gRefCOCO's name; read where there is no REFS_FILE

NO_ID = -1  # in the place of an annotation's or a category's id
Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Name = Annotated[Text, Field(pattern=r"\S")]
Pixels = Annotated[int, Field(gt=0)]


class RefEntry(TypedDict):
    """A ref. Its sentences are validated when it is used."""

    ref_id: Id
    ann_ids: list[Id]  # of its targets, each once; empty: the image has none
    image_id: Id
    category_ids: list[Id]  # of what it asks for; empty only if it has no target
    split: Text
    sentences: list[dict[str, Any]]  # at least one


class _RefFields(TypedDict):
    """A ref as it is written; gRefCOCO has lists of ids, and -1 for none."""

    ref_id: Id
    ann_id: NotRequired[Id | list[Id]]
    image_id: Id
    category_id: NotRequired[Id | list[Id]]
    split: Text
    sentences: Annotated[list[dict[str, Any]], Field(min_length=1)]
    no_target: NotRequired[bool | None]
    empty: NotRequired[bool | None]


class _Identified(TypedDict):
    id: Id


class _CategoryEntry(TypedDict):
    id: Id
    name: Name


class _AnnotationEntry(TypedDict):
    image_id: Id
    segmentation: Any  # see merge_segmentation


class _ImageEntry(TypedDict):
    file_name: Name
    height: Pixels
    width: Pixels


_REF, _IDENTIFIED = TypeAdapter(_RefFields), TypeAdapter(_Identified)
_CATEGORY = TypeAdapter(_CategoryEntry)
_ANNOTATION, _IMAGE = TypeAdapter(_AnnotationEntry), TypeAdapter(_ImageEntry)


@dataclass(frozen=True)
class Targets:
    """What a ref points at in one image."""

    image_name: str  # as written in the file
    height: int  # of the image, pixels
    width: int
    masks: list[RunLengthMask]  # one per target, not empty, of the image's size
    category: str | None  # the first target's; None if the file names none and there is no target


@dataclass(frozen=True)
class AnnotationFiles:
    """The contents of the two files; the lists of instances.json are indexed by id.

    An image or an annotation is validated only when a ref points to it: RefCOCO's files have
    thousands that no ref needs.
    """

    refs_file: Path
    refs: list[RefEntry]
    annotations: dict[int, Any]
    images: dict[int, Any]
    categories: dict[int, str]

    def find_targets(self, ref: RefEntry) -> Targets:
        """The targets that a ref points at.

        Raises:
            UnusableRecordError: the files do not give its targets in one image.
        """
        found = [
            self._find("annotation", ann_id, self.annotations, _ANNOTATION)
            for ann_id in ref["ann_ids"]
        ]
        image = self._find("image", ref["image_id"], self.images, _IMAGE)
        for category_id in ref["category_ids"]:
            if category_id not in self.categories:
                raise UnusableRecordError(
                    "unknown category", f"has unknown category id {category_id}"
                )
        masks = [
            _read_mask(ref, ann_id, annotation, image)
            for ann_id, annotation in zip(ref["ann_ids"], found, strict=True)
        ]
        category = self.categories[ref["category_ids"][0]] if ref["category_ids"] else None
        return Targets(image["file_name"], image["height"], image["width"], masks, category)

    def _find(self, what: str, key: int, entries: dict[int, Any], schema: TypeAdapter) -> Any:
        if key not in entries:
            raise UnusableRecordError(
                f"refs without {what}",
                f"points to {what} {key}, which is not in {INSTANCES_FILE}",
            )
        try:
            return validate(schema, entries[key])
        except ValueError as error:
            raise UnusableRecordError(
                f"unusable {what}s", f"points to {what} {key}, which {error}"
            ) from error


def _read_mask(
    ref: RefEntry, ann_id: int, annotation: dict[str, Any], image: dict[str, Any]
) -> RunLengthMask:
    """
    Raises:
        UnusableRecordError: the annotation is of another image, or its mask damaged or empty.
    """
    if annotation["image_id"] != ref["image_id"]:
        raise UnusableRecordError(
            "ref and annotation disagree",
            f"is about image {ref['image_id']}, its annotation {ann_id} about image "
            f"{annotation['image_id']}",
        )
    size = {"height": image["height"], "width": image["width"]}
    try:
        mask = merge_segmentation(annotation["segmentation"], **size)
    except ValueError as error:
        raise UnusableRecordError("unreadable masks", f"annotation {ann_id}: {error}") from error
    if coco_mask.area(mask) == 0:
        raise UnusableRecordError("empty masks", f"has an empty mask (annotation {ann_id})")
    return mask


def read_annotation_files(
    folder: Path, report: DefectReport | None = None, *, any_targets: bool = False
) -> AnnotationFiles:
    """Read ``refs(unc).p``, or gRefCOCO's ``grefs(unc).json``, and ``instances.json``.

    Args:
        folder: contains both files.
        report: receives unusable refs and entries; None: the first one is an error.
        any_targets: refs may have several targets or none; otherwise such a ref is unusable.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged as a whole, or an entry is unusable and the report strict.
    """
    report = report or DefectReport(lenient=False)
    refs_name = REFS_FILE
    if not (folder / REFS_FILE).is_file() and (folder / GREFS_FILE).is_file():
        refs_name = GREFS_FILE
    for name in (refs_name, INSTANCES_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; see datasets/README.md for the expected tree, and "
                "set DETECTRON2_DATASETS to its root"
            )
    refs_file = folder / refs_name
    refs = read_json(refs_file) if refs_name == GREFS_FILE else read_plain_pickle(refs_file)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{refs_file}: expected a list of refs, got {quote(refs)}")
    instances = read_json(folder / INSTANCES_FILE)
    by_id = {}
    for key, schema in (
        ("images", _IDENTIFIED),
        ("annotations", _IDENTIFIED),
        ("categories", _CATEGORY),
    ):
        where = f"{folder / INSTANCES_FILE}: {key}"
        if not isinstance(instances, dict) or not isinstance(instances.get(key), list):
            raise ValueError(f"{folder / INSTANCES_FILE}: has no list {key!r}")
        by_id[key] = _entries_by_id(instances[key], schema, where, report)
    return AnnotationFiles(
        refs_file=refs_file,
        refs=list(_usable_refs(refs, refs_file, report, any_targets)),
        annotations=by_id["annotations"],
        images=by_id["images"],
        categories={key: entry["name"].strip() for key, entry in by_id["categories"].items()},
    )


def _entries_by_id(
    entries: list, schema: TypeAdapter, where: str, report: DefectReport
) -> dict[int, Any]:
    """Index entries by id; a missing or repeated id is a defect."""
    by_id: dict[int, Any] = {}
    for position, entry in enumerate(entries):
        try:
            key = validate(schema, entry)["id"]
        except ValueError as error:
            report.add("unusable entries", f"{where}: entry {position} {error}")
            continue
        if key in by_id:
            report.add("duplicate ids", f"{where}: id {key} occurs twice")
            continue
        by_id[key] = entry
    return by_id


def _usable_refs(
    refs: list, path: Path, report: DefectReport, any_targets: bool
) -> Iterator[RefEntry]:
    for position, ref in enumerate(refs):
        named = f"{path}: entry {position}"
        if isinstance(ref, dict) and isinstance(ref.get("ref_id"), int | str):
            named = f"{path}: ref {quote(ref['ref_id'])}"
        try:
            yield _read_ref(ref, any_targets)
        except UnusableRecordError as defect:
            report.add(defect.kind, f"{named} {defect}")
        except ValueError as error:
            report.add("unusable refs", f"{named} {error}")


def _read_ref(ref: Any, any_targets: bool) -> RefEntry:
    """
    Raises:
        ValueError: it does not fit the schema, or says two things about its targets;
            ``UnusableRecordError``: it has several targets or none, which is not allowed.
    """
    fields: _RefFields = validate(_REF, ref)
    ann_ids = _read_ann_ids(fields)
    if len(ann_ids) != 1 and not any_targets:
        found = f"a list of targets, {quote(ann_ids)}" if ann_ids else "no target"
        raise UnusableRecordError(
            "several targets or none",
            f"has {found}, but the dataset claims one target for every ref; if it is meant, say "
            '"targets": "any" in its dataset.json',
        )
    category_ids = [key for key in _as_list(fields.get("category_id", [])) if key != NO_ID]
    if ann_ids and not category_ids:
        raise ValueError("has no 'category_id'")
    return {
        "ref_id": fields["ref_id"],
        "ann_ids": ann_ids,
        "image_id": fields["image_id"],
        "category_ids": category_ids,
        "split": fields["split"],
        "sentences": fields["sentences"],
    }


def _read_ann_ids(ref: _RefFields) -> list[int]:
    """The annotations of a ref, each once; empty for none.

    None is written as -1, as an empty list or, by a flag, without the key.

    Raises:
        ValueError: the key is missing without such a flag, or it says two things.
    """
    flags = {name: ref.get(name) for name in ("no_target", "empty")}
    is_said_absent = any(flags.values())
    if "ann_id" not in ref and not is_said_absent:
        raise ValueError("has no 'ann_id'")
    written = ref.get("ann_id", [])
    ids = [key for key in dict.fromkeys(_as_list(written)) if key != NO_ID]
    for name, flag in flags.items():
        if flag is not None and flag == bool(ids):
            raise ValueError(f"says {name!r} is {flag}, but its ann_id is {quote(written)}")
    if ids and len(ids) < len(set(_as_list(written))):
        raise ValueError(f"ann_id is {quote(written)}, both targets and {NO_ID} for none")
    return ids


def _as_list(ids: int | list[int]) -> list[int]:
    return ids if isinstance(ids, list) else [ids]
