"""Reviewed masks -> a dataset in RefCOCO format, with the provenance of each mask."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.catalog import DATASETS, DatasetInfo
from ..data.description_file import DESCRIPTION_FILE, SPLITS
from ..data.image_file import read_image_size
from ..data.plain_files import join_inside
from ..data.refer_writer import (
    annotation_entry,
    any_ref_entry,
    category_entries,
    ref_entry,
    sentence_entry,
    write_refer_files,
)
from ..structures import RunLengthMask
from ..version import __version__
from .splitting import find_leaking_images
from .triplets import Target, stable_id

RECORD = "build.json"
UNFINISHED = ".unfinished"  # marks a folder of images whose annotations are not in place yet
NAMED_OFFENDERS = 3


@dataclass(frozen=True)
class FinishedMask:
    """One target of the written dataset."""

    target: Target
    mask: RunLengthMask
    provenance: Mapping[str, Any]  # made_by, score, annotators


@dataclass(frozen=True)
class FinishedGroup:
    """A ref to any number of objects of one image: none, one or several."""

    ref: Target  # its id is the ref's
    masks: Mapping[int, RunLengthMask]  # of the objects, by their annotation's id
    image_size: tuple[int, int]  # height, width


def write_refer_dataset(
    root: Path,
    name: str,
    finished: Sequence[FinishedMask],
    *,
    images: Path,
    record: Mapping[str, Any],
    groups: Sequence[FinishedGroup] | None = None,
    allow_leakage: bool = False,
) -> None:
    """Write ``<root>/<name>`` and ``<root>/images/<name>/JPEGImages``.

    Ids depend only on image, box and sentence, so adding or removing others changes none. A killed
    call can be repeated: its unfinished files carry a mark and are replaced.

    Args:
        root: the future value of DETECTRON2_DATASETS.
        finished: at least one; categories are numbered in the order of their names.
        images: folder of the image files, which are copied.
        record: versions, limits and counts, for ``build.json``.
        groups: refs to any number of targets, which make it a dataset of such refs.
        allow_leakage: also write images that are in several splits.

    Raises:
        FileExistsError: a dataset of this name exists.
        ValueError: nothing to write; a target without a split; an image in several splits, outside
            its folder, or not of the size of its mask; or the name of one of the project's own
            datasets, whose categories have a fixed order.
        FileNotFoundError: an image is missing.
    """
    _refuse_name(name)
    info = DatasetInfo(name, (), {})
    annotations, jpegs = info.annotations(root), info.images(root)
    is_left_by_a_kill = (jpegs.parent / UNFINISHED).is_file() and not annotations.exists()
    if annotations.exists() or (jpegs.parent.exists() and not is_left_by_a_kill):
        raise FileExistsError(f"{annotations} or {jpegs.parent} exists; choose another name")
    if not finished:
        raise ValueError("no target has a mask to write")
    targets = [*(entry.target for entry in finished), *(entry.ref for entry in groups or ())]
    _refuse_missing_splits(targets)
    if not allow_leakage:
        names = name_by_content((target.image for target in targets), images)
        _refuse_leakage([replace(target, image=names[target.image]) for target in targets])
    scratch = root / f".{name}-unfinished"
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in (scratch / "annotations", scratch / "images" / jpegs.name):
        folder.mkdir(parents=True)
    sizes: dict[str, tuple[int, ...]] = {e.ref.image: e.image_size for e in groups or ()}
    sizes |= {entry.target.image: tuple(entry.mask["size"]) for entry in finished}
    for image in tqdm(sorted(sizes), desc="images", unit="image"):
        _copy_image(images, image, scratch / "images" / jpegs.name, sizes[image])
    try:
        _write_annotations(scratch / "annotations", finished, groups, record)
    except OSError as error:  # for a full disk it names no file
        raise OSError(f"{annotations} could not be written: {error}") from error
    _put_in_place(scratch, images=jpegs.parent, annotations=annotations)


def _put_in_place(scratch: Path, *, images: Path, annotations: Path) -> None:
    """Rename both folders; a kill in between leaves the images with a mark in them."""
    (scratch / "images" / UNFINISHED).touch()
    if images.exists():  # left by a kill
        os.replace(images, scratch / "replaced")
    for finished_folder, part in ((images, "images"), (annotations, "annotations")):
        finished_folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch / part, finished_folder)
    (images / UNFINISHED).unlink()
    shutil.rmtree(scratch)


def _copy_image(source: Path, name: str, folder: Path, size: tuple[int, ...]) -> None:
    """Copy an image whose masks have the given size (height, width).

    Raises:
        ValueError: the name leads out of the folder, or the image has another size now.
    """
    origin, destination = join_inside(source, name), join_inside(folder, name)
    found = read_image_size(origin)
    if found != size:
        raise ValueError(
            f"{origin} has {found[0]} x {found[1]} pixels (height x width, turned as its EXIF data "
            f"say), but its masks have {size[0]} x {size[1]}; repeat all steps from 'read' on in "
            "another --work"
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin, destination)


def _write_annotations(
    folder: Path,
    finished: Sequence[FinishedMask],
    groups: Sequence[FinishedGroup] | None,
    record: Mapping[str, Any],
) -> None:
    """Write the two files of the format, ``dataset.json`` and ``build.json``."""
    refs, instances = _make_refer_contents(finished, groups)
    write_refer_files(folder, refs=refs, instances=instances)
    description: dict[str, Any] = {
        "classes": [category["name"] for category in instances["categories"]],
        "counts": dict(Counter(ref["split"] for ref in refs)),
    }
    if groups is not None:
        description["targets"] = "any"
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1))
    (folder / RECORD).write_text(json.dumps({"cadformer_d2": __version__, **record}, indent=1))


def _refuse_name(name: str) -> None:
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"the dataset's name is {name!r}; use letters, digits and _")
    if name in DATASETS:
        raise ValueError(f"{name} is one of the project's own datasets; choose another name")


def _refuse_missing_splits(targets: Sequence[Target]) -> None:
    without = [target for target in targets if target.split not in SPLITS]
    if without:
        raise ValueError(
            f"{len(without)} targets are in none of the splits {', '.join(SPLITS)}, the first in "
            f"{without[0].image} (split {without[0].split!r}); pass --split-shares to split anew"
        )


def name_by_content(images: Iterable[str], folder: Path) -> dict[str, str]:
    """Map images with the same bytes to one name, the first."""
    first: dict[str, str] = {}
    return {
        name: first.setdefault(_content_hash(folder / name), name) for name in sorted(set(images))
    }


def _content_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_leakage(targets: Sequence[Target]) -> None:
    leaking = find_leaking_images(targets)
    if leaking:
        shown = "; ".join(
            f"{image} ({', '.join(splits)})"
            for image, splits in sorted(leaking.items())[:NAMED_OFFENDERS]
        )
        raise ValueError(
            f"{len(leaking)} images are in several splits, so the test set would contain training "
            f"images: {shown}. Split anew by image (--split-shares), or allow it (--allow-leakage)"
        )


def _make_refer_contents(
    finished: Sequence[FinishedMask], groups: Sequence[FinishedGroup] | None
) -> tuple[list[dict[str, Any]], dict[str, list]]:
    """Make refs and instances, in the order of images and targets; groups follow."""
    ordered = sorted(finished, key=lambda entry: (entry.target.image, entry.target.target_id))
    grouped = sorted(groups or (), key=lambda entry: (entry.ref.image, entry.ref.target_id))
    names = {entry.target.category for entry in finished} | {e.ref.category for e in grouped}
    contents = _Contents(sorted(names), any_targets=groups is not None)
    for entry in ordered:
        height, width = entry.mask["size"]
        contents.add_image(entry.target.image, (height, width))
        provenance = {"provenance": dict(entry.provenance)}
        contents.add_annotation(entry.target, entry.target.target_id, entry.mask, provenance)
        contents.add_ref(entry.target, [entry.target.target_id])
    for group in grouped:
        contents.add_image(group.ref.image, group.image_size)
        for ann_id, mask in group.masks.items():
            contents.add_annotation(group.ref, ann_id, mask, {})
        contents.add_ref(group.ref, list(group.masks))
    return contents.refs, contents.instances


class _Contents:
    """The contents of the two files while they are made."""

    def __init__(self, names: Sequence[str], *, any_targets: bool):
        """
        Args:
            names: of the categories, in the order of their ids.
            any_targets: write refs to any number of targets.
        """
        self.names = list(names)
        self.any_targets = any_targets
        self.refs: list[dict[str, Any]] = []
        self.instances: dict[str, list] = {
            "images": [],
            "annotations": [],
            "categories": category_entries(names),
        }
        self._images: dict[int, str] = {}
        self._annotations: dict[int, dict[str, Any]] = {}

    def add_image(self, name: str, size: tuple[int, int]) -> None:
        """
        Args:
            size: height, width.

        Raises:
            ValueError: another image has the same id.
        """
        image_id = stable_id(name)
        if image_id not in self._images:
            self._images[image_id] = name
            entry = {"id": image_id, "file_name": name, "height": size[0], "width": size[1]}
            self.instances["images"].append(entry)
        if self._images[image_id] != name:
            both = f"{name} and {self._images[image_id]}"
            raise ValueError(f"{both} got the same id, {image_id}; rename one of the images")

    def add_annotation(
        self, target: Target, ann_id: int, mask: RunLengthMask, more: Mapping[str, Any]
    ) -> None:
        """Add an object of a target's image and category, unless it is there already."""
        if ann_id in self._annotations:
            return
        category_id = self.names.index(target.category) + 1
        annotation = annotation_entry(ann_id, stable_id(target.image), category_id, mask)
        self._annotations[ann_id] = annotation
        self.instances["annotations"].append({**annotation, **more})

    def add_ref(self, target: Target, ann_ids: Sequence[int]) -> None:
        """Add a ref with a target's id, split and sentences."""
        sentences = [
            sentence_entry(stable_id(target.target_id, text), text) for text in target.sentences
        ]
        for sentence, kind in zip(sentences, target.kinds, strict=bool(target.kinds)):
            sentence["kind"] = kind
        common: dict[str, Any] = {
            "split": target.split,
            "file_name": target.image,
            "sentences": sentences,
        }
        if not self.any_targets:
            self.refs.append(ref_entry(self._annotations[ann_ids[0]], **common))
            return
        common["image_id"] = stable_id(target.image)
        common["category_id"] = self.names.index(target.category) + 1
        self.refs.append(any_ref_entry(target.target_id, ann_ids, **common))
