"""The datasets of this project, registered in Detectron2's catalogs by a call."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import log_first_n

from ..structures import ReferRecord
from .class_names import OBJECT_NAMES, RRSISD_CLASSES, RRSISHR_CLASSES
from .description_file import DESCRIPTION_FILE, SPLITS, read_description
from .expression_roles import find_object_spans, find_position_spans
from .queries import (
    query_every_expression,
    query_from_other_scenes,
    query_with_other_expressions,
    query_without_words,
)
from .refer import load_refer_records
from .refsegrs import load_refsegrs_records

EVALUATOR_TYPE = "referring_seg"
QueryMaker = Callable[[list[ReferRecord]], list[ReferRecord]]


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset on disk. Counts are published refs per split; empty for generated data."""

    name: str
    classes: tuple[str, ...]
    published_counts: dict[str, int]
    # Whether refs may have several targets or none; otherwise such a ref is an error.
    any_targets: bool = field(default=False, kw_only=True)

    def annotations(self, root: Path) -> Path:
        return root / self.name

    def images(self, root: Path) -> Path:
        return root / "images" / self.name / "JPEGImages"

    def load(self, root: Path, split: str, lenient: bool) -> list[ReferRecord]:
        """One record per ref of a split."""
        return load_refer_records(
            self.annotations(root),
            self.images(root),
            split=split,
            classes=self.classes,
            lenient=lenient,
            any_targets=self.any_targets,
        )


@dataclass(frozen=True)
class RefSegRSInfo(DatasetInfo):
    """RefSegRS keeps everything in one folder, without categories."""

    def images(self, root: Path) -> Path:
        return root / self.name / "images"

    def load(self, root: Path, split: str, lenient: bool) -> list[ReferRecord]:
        return load_refsegrs_records(root / self.name, split=split, lenient=lenient)


@dataclass(frozen=True)
class UndescribedInfo(DatasetInfo):
    """A folder with an unusable ``dataset.json``: loading its data is an error."""

    reason: str

    def load(self, root: Path, split: str, lenient: bool) -> list[ReferRecord]:
        raise ValueError(self.reason)


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo("rrsisd", RRSISD_CLASSES, {"train": 12181, "val": 1740, "test": 3481}),
        DatasetInfo("rrsishr", RRSISHR_CLASSES, {"train": 2118, "val": 268, "test": 264}),
        RefSegRSInfo("refsegrs", ("target",), {"train": 2172, "val": 431, "test": 1817}),
        DatasetInfo("synthrs", RRSISHR_CLASSES, {}),
        DatasetInfo("gsynthrs", RRSISHR_CLASSES, {}, any_targets=True),
    )
}


def dataset_root(root: str | os.PathLike | None = None) -> Path:
    """``root``, or the value of DETECTRON2_DATASETS, or ``datasets``."""
    return Path(root or os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def _find_datasets(root: str | os.PathLike | None = None) -> dict[str, DatasetInfo]:
    """The project's own datasets, and those that a ``dataset.json`` below the root describes.

    A damaged description is listed too, and raises when its records are loaded.

    Args:
        root: see ``dataset_root``.
    """
    described = map(
        _read_described_dataset, sorted(dataset_root(root).glob(f"*/{DESCRIPTION_FILE}"))
    )
    return {**{info.name: info for info in described}, **DATASETS}


def _read_described_dataset(path: Path) -> DatasetInfo:
    """The dataset that a ``dataset.json`` describes."""
    name = path.parent.name
    try:
        found = read_description(path)
        return DatasetInfo(name, found.classes, found.counts, any_targets=found.any_targets)
    except (ValueError, OSError) as error:
        message = f"{name} is not usable: {error}"
        log_first_n(logging.WARNING, message, name=__name__, key="message")
        return UndescribedInfo(name, (), {}, reason=str(error))


def find_dataset(name: str, root: str | os.PathLike | None = None) -> DatasetInfo:
    """
    Raises:
        ValueError: not one of the project's own, and not described (or badly) below the root.
    """
    known = _find_datasets(root)
    if isinstance(known.get(name), UndescribedInfo):
        known[name].load(dataset_root(root), "train", False)
    if name not in known:
        raise ValueError(
            f"unknown dataset {name!r}; known: {', '.join(sorted(known))}. To add a folder below "
            f"{dataset_root(root)}, write a {DESCRIPTION_FILE} into it (see datasets/README.md)"
        )
    return known[name]


def _query_variants(info: DatasetInfo) -> dict[str, QueryMaker]:
    """How to query a split, by the ending of the name under which it is registered."""
    names = sorted({*OBJECT_NAMES, *info.classes})
    return {
        "_sentences": query_every_expression,
        "_shuffled": query_with_other_expressions,
        "_other_scenes": query_from_other_scenes,
        "_no_places": partial(query_without_words, find=partial(find_position_spans, names=names)),
        "_no_categories": partial(
            query_without_words, find=partial(find_object_spans, names=names)
        ),
    }


def register_datasets(root: str | os.PathLike | None = None, *, lenient: bool = False) -> list[str]:
    """Register the project's datasets and those that a ``dataset.json`` below the root describes.

    A second call replaces what the first registered.

    ``<name>_train`` has one record per ref, ``<name>_val`` and ``<name>_test`` one per expression.
    ``<name>_<split>_sentences`` has one record per expression of any split,
    ``<name>_<split>_shuffled`` queries each target with an expression about another target of its
    image, ``<name>_<split>_other_scenes`` each image with an expression of another image, the
    category of which it lacks, and ``<name>_<split>_no_places`` and
    ``<name>_<split>_no_categories`` query with every expression after removing such words.

    Args:
        root: see ``dataset_root``.
        lenient: skip and count unusable records instead of raising (DATASETS.LENIENT).

    Returns:
        the registered names.
    """
    folder = dataset_root(root)
    names = []
    for info, split in itertools.product(_find_datasets(folder).values(), SPLITS):
        load = partial(info.load, folder, split, lenient)
        for suffix, query in _query_variants(info).items():
            names.append(
                _register(info, split, suffix, partial(_load_queries, load, query), folder)
            )
        usual = load if split == "train" else partial(_load_queries, load, query_every_expression)
        names.append(_register(info, split, "", usual, folder))
    return names


def _register(
    info: DatasetInfo,
    split: str,
    suffix: str,
    loader: Callable[[], list[ReferRecord]],
    folder: Path,
) -> str:
    """Put one dataset into both catalogs; returns its name."""
    name = f"{info.name}_{split}{suffix}"
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, loader)
    MetadataCatalog.get(name).set(
        thing_classes=list(info.classes),
        evaluator_type=EVALUATOR_TYPE,
        split=split,
        any_targets=info.any_targets,
        annotation_root=str(info.annotations(folder)),
        image_root=str(info.images(folder)),
    )
    return name


def _load_queries(load: Callable[[], list[ReferRecord]], query: QueryMaker) -> list[ReferRecord]:
    return query(load())


def load_dataset_records(name: str) -> list[ReferRecord]:
    """Load the records of a registered dataset.

    Raises:
        ValueError: no dataset of that name is registered.
    """
    refuse_unknown(name)
    return DatasetCatalog.get(name)


def refuse_unknown(name: str) -> None:
    """Raise ValueError, with the registered names, unless a dataset has this name."""
    registered = DatasetCatalog.list()
    if name not in registered:
        stems = sorted(
            key.removesuffix("_train")
            for key in registered
            if key.endswith("_train") and _is_referring(key)
        )
        raise ValueError(
            f"unknown dataset {name!r}; known: {', '.join(stems)}, each followed by _train, _val "
            "or _test"
        )


def _is_referring(name: str) -> bool:
    return MetadataCatalog.get(name).get("evaluator_type") == EVALUATOR_TYPE
