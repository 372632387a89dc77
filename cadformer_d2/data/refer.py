"""RefCOCO-format files (refs pickle and instances JSON) -> validated records."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ..structures import ReferRecord
from .annotation_files import (
    INSTANCES_FILE,
    NO_ID,
    AnnotationFiles,
    Id,
    RefEntry,
    read_annotation_files,
)
from .categories import match_categories
from .defect_report import DefectReport, UnusableRecordError
from .masks import make_annotation
from .plain_files import join_inside
from .validation import Text, quote, validate

KNOWN_SPLITS = frozenset({"train", "val", "test", "testA", "testB", "testC"})


class EmptySplitError(ValueError):
    """The files are valid, but have no usable ref of the split."""


class _SentenceEntry(TypedDict):
    sent_id: Id
    sent: Text
    kind: NotRequired[Text]


_SENTENCE = TypeAdapter(_SentenceEntry)


@contextmanager
def _pause_collector() -> Iterator[None]:
    """Pause the garbage collector, which takes a fifth of the reading time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_pause_collector()
def load_refer_records(
    annotations: Path,
    images: Path,
    *,
    split: str,
    classes: Sequence[str] | None = None,
    lenient: bool = False,
    any_targets: bool = False,
) -> list[ReferRecord]:
    """Load the records of one split, one per ref with all its expressions.

    Args:
        annotations: folder with ``refs(unc).p`` (or ``grefs(unc).json``) and ``instances.json``.
        images: folder of the image files.
        split: as named by the refs.
        classes: names of the categories, in the order of the indices; None: the file's own, in the
            order of their ids.
        lenient: skip and count unusable records instead of raising.
        any_targets: refs may have several targets or none; otherwise such a ref is unusable.

    Raises:
        FileNotFoundError: a file of the dataset is missing.
        ValueError: the files are damaged or of another dataset, or a record is unusable;
            ``EmptySplitError``: the split has no usable ref.
    """
    report = DefectReport(lenient=lenient)
    files = read_annotation_files(annotations, report, any_targets=any_targets)
    try:
        indices = match_categories(files.categories, classes)
    except ValueError as error:
        raise ValueError(f"{annotations / INSTANCES_FILE}: {error}") from error
    records: dict[int, ReferRecord] = {}
    for ref in files.refs:
        try:
            if ref["split"] not in KNOWN_SPLITS:
                raise UnusableRecordError(
                    "unknown split", f"has unknown split {quote(ref['split'])}"
                )
            if ref["split"] != split:
                continue
            if ref["ref_id"] in records:
                raise UnusableRecordError("duplicate ids", "occurs twice")
            records[ref["ref_id"]] = _read_record(ref, files, images, indices)
        except UnusableRecordError as defect:
            report.add(defect.kind, f"{files.refs_file}: ref {ref['ref_id']} {defect}")
    report.log(f"{annotations.name} {split}")
    if not records:
        splits = sorted({ref["split"] for ref in files.refs} & KNOWN_SPLITS)
        raise EmptySplitError(
            f"{files.refs_file}: no usable ref of split {split!r}; "
            f"it has {', '.join(splits) or 'no split'}"
        )
    return list(records.values())


def _read_record(
    ref: RefEntry, files: AnnotationFiles, images: Path, indices: dict[int, int]
) -> ReferRecord:
    """Join the entries of a ref into a record.

    Raises:
        UnusableRecordError: targets, expressions or image are missing or unusable.
    """
    targets = files.find_targets(ref)
    file_name = _find_image_file(images, targets.image_name)
    sentences = _read_sentences(ref)
    category_id = indices[ref["category_ids"][0]] if ref["category_ids"] else NO_ID
    record: ReferRecord = {
        "file_name": str(file_name),
        "height": targets.height,
        "width": targets.width,
        "image_id": ref["image_id"],
        "ref_id": ref["ref_id"],
        "sent_id": None,
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "expressions": [sentence["sent"] for sentence in sentences],
        "category_id": category_id,
        "annotations": [make_annotation(mask, category_id=category_id) for mask in targets.masks],
    }
    if all("kind" in sentence for sentence in sentences):
        record["sentence_kinds"] = [sentence["kind"] for sentence in sentences]
    return record


def _find_image_file(images: Path, name: str) -> Path:
    """
    Raises:
        UnusableRecordError: the name leads out of the folder, or there is no such file.
    """
    try:
        path = join_inside(images, name)
    except ValueError as error:
        raise UnusableRecordError("unsafe file names", f"needs an image, but {error}") from error
    if not path.is_file():
        raise UnusableRecordError("missing image files", f"needs {path}, which is missing")
    return path


def _read_sentences(ref: RefEntry) -> list[dict[str, Any]]:
    """
    Raises:
        UnusableRecordError: a sentence is malformed, empty, or has the id of another.
    """
    sentences = []
    for entry in ref["sentences"]:
        try:
            sentences.append(validate(_SENTENCE, entry))
        except ValueError as error:
            raise UnusableRecordError(
                "unusable sentences", f"has a sentence that {error}"
            ) from error
    if not all(map(has_words, (sentence["sent"] for sentence in sentences))):
        raise UnusableRecordError("empty expressions", "has an empty expression")
    if len({sentence["sent_id"] for sentence in sentences}) < len(sentences):
        raise UnusableRecordError("duplicate ids", "has two sentences with one sent_id")
    return sentences


def has_words(expression: str) -> bool:
    """Whether an expression has more than spaces and control characters."""
    return any(character.isprintable() and not character.isspace() for character in expression)
