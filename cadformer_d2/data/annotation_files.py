"""The two files of a RefCOCO-format dataset, validated and joined by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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

Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Name = Annotated[Text, Field(pattern=r"\S")]
Pixels = Annotated[int, Field(gt=0)]


class RefEntry(TypedDict):
    """A ref. Its sentences are validated when it is used."""

    ref_id: Id
    ann_id: Id
    image_id: Id
    category_id: Id
    split: Text
    sentences: Annotated[list[dict[str, Any]], Field(min_length=1)]


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


_REF, _IDENTIFIED = TypeAdapter(RefEntry), TypeAdapter(_Identified)
_CATEGORY = TypeAdapter(_CategoryEntry)
_ANNOTATION, _IMAGE = TypeAdapter(_AnnotationEntry), TypeAdapter(_ImageEntry)


@dataclass(frozen=True)
class Target:
    """The object that a ref points at."""

    image_name: str  # as written in the file
    height: int  # of the image, pixels
    width: int
    mask: RunLengthMask  # not empty, of the image's size
    category: str


@dataclass(frozen=True)
class AnnotationFiles:
    """The contents of the two files; the lists of instances.json are indexed by id.

    An image or an annotation is validated only when a ref points to it: RefCOCO's files have
    thousands that no ref needs.
    """

    folder: Path
    refs: list[RefEntry]
    annotations: dict[int, Any]
    images: dict[int, Any]
    categories: dict[int, str]

    def find_target(self, ref: RefEntry) -> Target:
        """The target that a ref points at.

        Raises:
            UnusableRecordError: the files do not give one target in one image.
        """
        target = self._find("annotation", ref["ann_id"], self.annotations, _ANNOTATION)
        image = self._find("image", ref["image_id"], self.images, _IMAGE)
        if target["image_id"] != ref["image_id"]:
            raise UnusableRecordError(
                "ref and annotation disagree",
                f"is about image {ref['image_id']}, its annotation {ref['ann_id']} about image "
                f"{target['image_id']}",
            )
        if ref["category_id"] not in self.categories:
            raise UnusableRecordError(
                "unknown category", f"has unknown category id {ref['category_id']}"
            )
        height, width = image["height"], image["width"]
        try:
            mask = merge_segmentation(target["segmentation"], height=height, width=width)
        except ValueError as error:
            raise UnusableRecordError(
                "unreadable masks", f"annotation {ref['ann_id']}: {error}"
            ) from error
        if coco_mask.area(mask) == 0:
            raise UnusableRecordError(
                "empty masks", f"has an empty mask (annotation {ref['ann_id']})"
            )
        category = self.categories[ref["category_id"]]
        return Target(image["file_name"], height, width, mask, category)

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


def read_annotation_files(folder: Path, report: DefectReport | None = None) -> AnnotationFiles:
    """Read ``refs(unc).p`` and ``instances.json``.

    Args:
        folder: contains both files.
        report: receives unusable refs and entries; None: the first one is an error.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged as a whole, or an entry is unusable and the report strict.
    """
    report = report or DefectReport(lenient=False)
    for name in (REFS_FILE, INSTANCES_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; see datasets/README.md for the expected tree, and "
                "set DETECTRON2_DATASETS to its root"
            )
    refs = read_plain_pickle(folder / REFS_FILE)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{folder / REFS_FILE}: expected a list of refs, got {quote(refs)}")
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
        folder=folder,
        refs=list(_usable_refs(refs, folder / REFS_FILE, report)),
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


def _usable_refs(refs: list, path: Path, report: DefectReport) -> Iterator[RefEntry]:
    for position, ref in enumerate(refs):
        named = f"{path}: entry {position}"
        if isinstance(ref, dict) and isinstance(ref.get("ref_id"), int | str):
            named = f"{path}: ref {quote(ref['ref_id'])}"
        if isinstance(ref, dict) and (found := _describe_other_targets(ref)):
            report.add(
                "several targets or none",
                f"{named} has {found}, as in gRefCOCO; only refs to one target are supported",
            )
            continue
        try:
            yield validate(_REF, ref)
        except ValueError as error:
            report.add("unusable refs", f"{named} {error}")


def _describe_other_targets(ref: dict) -> str:
    """Say what a ref points at instead of one target; empty if it is one."""
    if ref.get("no_target") or ref.get("ann_id") == [-1]:
        return "no target"
    if isinstance(ref.get("ann_id"), list):
        return f"a list of targets, {quote(ref['ann_id'])}"
    return ""
