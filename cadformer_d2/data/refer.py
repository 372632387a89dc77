"""RefCOCO-format files (refs pickle and instances JSON) -> validated records."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pycocotools import mask as coco_mask

from ..structures import ReferRecord, RunLengthMask
from .masks import annotation_of, united_mask
from .plain_files import read_json, read_plain_pickle

logger = logging.getLogger(__name__)

REFS_FILE, INSTANCES_FILE = "refs(unc).p", "instances.json"
REF_KEYS = {"ref_id", "ann_id", "image_id", "category_id", "split", "sentences"}
SENTENCE_KEYS = {"sent_id", "sent"}
ANNOTATION_KEYS = {"image_id", "segmentation"}
IMAGE_KEYS = {"file_name", "height", "width"}
CATEGORY_KEYS = {"id", "name"}
KNOWN_SPLITS = frozenset({"train", "val", "test", "testA", "testB", "testC"})
# Offenders of each kind that a report names; the rest are counted.
NAMED_OFFENDERS = 3


class EmptySplitError(ValueError):
    """The files are sound, but have no usable ref of the split."""


class DefectReport:
    """Counts what is wrong with a dataset; raises at once unless lenient.

    In lenient mode the unusable record is skipped, and ``log`` says how many of each kind and
    names the first few.
    """

    def __init__(self, *, lenient: bool):
        self.lenient = lenient
        self.offenders: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, message: str) -> None:
        """
        Args:
            kind: what the count is kept under.
            message: names file and id, and says what was found.

        Raises:
            ValueError: not lenient.
        """
        if not self.lenient:
            raise ValueError(
                f"{message}. Fix the file, or set DATASETS.LENIENT True to skip such records"
            )
        self.offenders[kind].append(message)

    def log(self, name: str) -> None:
        for kind, messages in sorted(self.offenders.items()):
            named = "; ".join(messages[:NAMED_OFFENDERS])
            logger.warning("%s: skipped %d records, %s: %s", name, len(messages), kind, named)


def load_refer_records(
    annotations: Path,
    images: Path,
    *,
    split: str,
    classes: Sequence[str] | None = None,
    lenient: bool = False,
) -> list[ReferRecord]:
    """Records of one split, one per ref with all its sentences.

    Args:
        annotations: folder with ``refs(unc).p`` and ``instances.json``.
        images: folder of the image files.
        split: as the refs name it.
        classes: names of the categories that indices count; None: the file's own, in the order of
            their ids.
        lenient: skip and count unusable records instead of raising.

    Raises:
        FileNotFoundError: a file of the dataset is missing.
        ValueError: the files are damaged or of another dataset, or an unusable record was met;
            ``EmptySplitError``: the split has no refs.
    """
    refs, instances = read_annotation_files(annotations)
    try:
        categories = category_indices(instances["categories"], classes)
    except ValueError as error:
        raise ValueError(f"{annotations / INSTANCES_FILE}: {error}") from error
    report = DefectReport(lenient=lenient)
    reader = RecordReader(annotations, images, instances, categories, report)
    records: dict[int, ReferRecord] = {}
    for ref in refs:
        if ref["split"] not in KNOWN_SPLITS:
            reader.reject(ref, "unknown split", f"has unknown split {ref['split']!r}")
        elif ref["split"] == split and ref["ref_id"] in records:
            reader.reject(ref, "duplicate ids", "occurs twice")
        elif ref["split"] == split and (record := reader.read(ref)) is not None:
            records[ref["ref_id"]] = record
    report.log(f"{annotations.name} {split}")
    if not records:
        splits = sorted({str(ref["split"]) for ref in refs})
        raise EmptySplitError(
            f"{annotations / REFS_FILE}: no usable ref of split {split!r}; "
            f"it has {', '.join(splits)}"
        )
    return list(records.values())


def read_annotation_files(annotations: Path) -> tuple[list[dict], dict[str, list]]:
    """Contents of the two files, checked for their outer structure."""
    for name in (REFS_FILE, INSTANCES_FILE):
        if not (annotations / name).is_file():
            raise FileNotFoundError(
                f"{annotations / name} is missing; datasets/README.md shows the expected tree, "
                "and DETECTRON2_DATASETS names its root"
            )
    refs = read_plain_pickle(annotations / REFS_FILE)
    instances = read_json(annotations / INSTANCES_FILE)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{annotations / REFS_FILE}: expected a list of refs, got {type(refs)}")
    refuse_incomplete(refs, REF_KEYS, str(annotations / REFS_FILE))
    # What else an image or an annotation lacks matters to the refs that need it alone.
    for key, required in (
        ("images", {"id"}),
        ("annotations", {"id"}),
        ("categories", CATEGORY_KEYS),
    ):
        if not isinstance(instances, dict) or not isinstance(instances.get(key), list):
            raise ValueError(f"{annotations / INSTANCES_FILE}: has no list {key!r}")
        refuse_incomplete(instances[key], required, f"{annotations / INSTANCES_FILE}: {key}")
    return refs, instances


def refuse_incomplete(entries: list, required: set[str], where: str) -> None:
    """Raise ValueError for the first entry that is no dict with all the required keys."""
    for position, entry in enumerate(entries):
        missing = required - set(entry) if isinstance(entry, dict) else required
        if missing:
            raise ValueError(f"{where}: entry {position} lacks {', '.join(sorted(missing))}")


def index_by_id(
    entries: list[dict], what: str, annotations: Path, report: DefectReport
) -> dict[int, dict]:
    """Entries by their id; a second entry of an id is a defect."""
    by_id: dict[int, dict] = {}
    for entry in entries:
        if entry["id"] in by_id:
            message = f"{annotations / INSTANCES_FILE}: {what} id {entry['id']} occurs twice"
            report.add("duplicate ids", message)
            continue
        by_id[entry["id"]] = entry
    return by_id


def category_indices(categories: list[dict], classes: Sequence[str] | None) -> dict[int, int]:
    """From a file's category ids to indices, by name where the classes are known.

    Names are compared without case, spaces and punctuation, since publishers spell one class in
    several ways ("Expressway-toll-station"). A file that has as many categories under other names
    is taken in the order of its ids, with a warning.

    Raises:
        ValueError: a category that is none of the classes.
    """
    ordered = sorted(categories, key=lambda category: category["id"])
    in_order = {category["id"]: index for index, category in enumerate(ordered)}
    if classes is None:
        return in_order
    indices = {bare(name): index for index, name in enumerate(classes)}
    others = [category["name"] for category in ordered if bare(category["name"]) not in indices]
    if not others:
        return {category["id"]: indices[bare(category["name"])] for category in ordered}
    named = f"category {others[0]!r} is none of the known ones ({', '.join(classes)})"
    if len(ordered) != len(classes):
        raise ValueError(f"{named}; is it another dataset?")
    logger.warning("%s; the file's categories are taken in the order of their ids", named)
    return in_order


def bare(name: str) -> str:
    """A name's letters and digits, in lower case."""
    return "".join(character for character in name.lower() if character.isalnum())


class UnusableRecordError(Exception):
    """Carries a defect's kind and message out of the reading of one record."""


class RecordReader:
    """Turns one ref into a record by joining the files on their ids, never on their order."""

    def __init__(
        self,
        annotations: Path,
        images: Path,
        instances: dict[str, list],
        categories: dict[int, int],
        report: DefectReport,
    ):
        self.annotations = annotations
        self.images = images
        self.categories = categories
        self.report = report
        self.targets = index_by_id(instances["annotations"], "annotation", annotations, report)
        self.pictures = index_by_id(instances["images"], "image", annotations, report)

    def read(self, ref: dict[str, Any]) -> ReferRecord | None:
        """The record, or None if it is unusable and the report is lenient."""
        try:
            return self.join(ref)
        except UnusableRecordError as defect:
            self.reject(ref, *defect.args)
            return None

    def reject(self, ref: dict[str, Any], kind: str, message: str) -> None:
        """Report a ref as unusable."""
        self.report.add(kind, f"{self.annotations / REFS_FILE}: ref {ref['ref_id']} {message}")

    def join(self, ref: dict[str, Any]) -> ReferRecord:
        target = self.find("annotation", ref["ann_id"], self.targets, ANNOTATION_KEYS)
        picture = self.find("image", ref["image_id"], self.pictures, IMAGE_KEYS)
        if target["image_id"] != ref["image_id"]:
            message = f"is of image {ref['image_id']}, its annotation {ref['ann_id']} of image "
            fail("ref and annotation disagree", f"{message}{target['image_id']}")
        if ref["category_id"] not in self.categories:
            fail("unknown category", f"has unknown category id {ref['category_id']}")
        file_name = self.images / picture["file_name"]
        if not file_name.is_file():
            fail("missing image files", f"needs {file_name}, which is missing")
        sentences = self.sentences(ref)
        category_id = self.categories[ref["category_id"]]
        mask = self.mask(ref, target, picture)
        record: ReferRecord = {
            "file_name": str(file_name),
            "height": picture["height"],
            "width": picture["width"],
            "image_id": ref["image_id"],
            "ref_id": ref["ref_id"],
            "sent_id": None,
            "sent_ids": [sentence["sent_id"] for sentence in sentences],
            "expressions": [sentence["sent"] for sentence in sentences],
            "category_id": category_id,
            "annotations": [annotation_of(mask, category_id=category_id)],
        }
        if all("kind" in sentence for sentence in sentences):
            record["sentence_kinds"] = [sentence["kind"] for sentence in sentences]
        return record

    def find(self, what: str, key: int, entries: dict[int, dict], required: set[str]) -> dict:
        if key not in entries:
            fail(f"refs without {what}", f"points to {what} {key}, which {INSTANCES_FILE} lacks")
        for missing in sorted(required - set(entries[key])):
            fail(f"incomplete {what}s", f"points to {what} {key}, which has no {missing!r}")
        return entries[key]

    def sentences(self, ref: dict) -> list[dict]:
        for sentence in ref["sentences"]:
            for missing in sorted(SENTENCE_KEYS - set(sentence)):
                fail("incomplete sentences", f"has a sentence without {missing!r}")
        found = [sentence for sentence in ref["sentences"] if str(sentence["sent"]).strip()]
        if len(found) < len(ref["sentences"]) or not found:
            fail("empty expressions", "has an empty expression")
        if len({sentence["sent_id"] for sentence in found}) < len(found):
            fail("duplicate ids", "has two sentences of one sent_id")
        return found

    def mask(self, ref: dict, target: dict, picture: dict) -> RunLengthMask:
        height, width = picture["height"], picture["width"]
        try:
            mask = united_mask(target["segmentation"], height=height, width=width)
        except ValueError as error:
            fail("unreadable masks", f"annotation {target['id']}: {error}")
        if coco_mask.area(mask) == 0:
            fail("empty masks", f"has an empty mask (annotation {target['id']})")
        return mask


def fail(kind: str, message: str) -> NoReturn:
    raise UnusableRecordError(kind, message)
