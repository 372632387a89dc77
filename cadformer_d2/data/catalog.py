"""The datasets this project knows, registered in Detectron2's catalogs by a call."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import log_first_n

from ..structures import ReferRecord
from .asking import ask_about_another, ask_every_sentence, ask_without
from .class_names import OBJECT_NAMES, RRSISD_CLASSES, RRSISHR_CLASSES
from .description_file import DESCRIPTION_FILE, SPLITS, read_description
from .refer import load_refer_records
from .refsegrs import load_refsegrs_records
from .sentence_roles import object_spans, position_spans

EVALUATOR_TYPE = "referring_seg"
Asker = Callable[[list[ReferRecord]], list[ReferRecord]]


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset on disk. Counts are refs by split as published; none for generated data."""

    name: str
    classes: tuple[str, ...]
    published_counts: dict[str, int]

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
    """A folder whose ``dataset.json`` cannot be used: an error for whoever asks for its data."""

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
    )
}


def dataset_root(root: str | os.PathLike | None = None) -> Path:
    """``root``, or what DETECTRON2_DATASETS names, or ``datasets``."""
    return Path(root or os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def known_datasets(root: str | os.PathLike | None = None) -> dict[str, DatasetInfo]:
    """The project's own datasets, and those that a ``dataset.json`` below the root describes.

    One whose description is damaged is there as well, and raises when its records are asked for.

    Args:
        root: see ``dataset_root``.
    """
    described = map(described_dataset, sorted(dataset_root(root).glob(f"*/{DESCRIPTION_FILE}")))
    return {**{info.name: info for info in described}, **DATASETS}


def described_dataset(path: Path) -> DatasetInfo:
    """The dataset that a ``dataset.json`` describes."""
    name = path.parent.name
    try:
        return DatasetInfo(name, *read_description(path))
    except (ValueError, OSError) as error:
        message = f"{name} is not usable: {error}"
        log_first_n(logging.WARNING, message, name=__name__, key="message")
        return UndescribedInfo(name, (), {}, reason=str(error))


def find_dataset(name: str, root: str | os.PathLike | None = None) -> DatasetInfo:
    """
    Raises:
        ValueError: neither the project's own nor described below the root, or described badly.
    """
    known = known_datasets(root)
    if isinstance(known.get(name), UndescribedInfo):
        known[name].load(dataset_root(root), "train", False)
    if name not in known:
        raise ValueError(
            f"unknown dataset {name!r}; known: {', '.join(sorted(known))}. A folder below "
            f"{dataset_root(root)} becomes known by a {DESCRIPTION_FILE}, see datasets/README.md"
        )
    return known[name]


def ways_of_asking(info: DatasetInfo) -> dict[str, Asker]:
    """By the endings of the names under which a split is asked otherwise than usual."""
    names = sorted({*OBJECT_NAMES, *info.classes})
    return {
        "_sentences": ask_every_sentence,
        "_shuffled": ask_about_another,
        "_no_places": partial(ask_without, find=partial(position_spans, names=names)),
        "_no_categories": partial(ask_without, find=partial(object_spans, names=names)),
    }


def register_datasets(root: str | os.PathLike | None = None, *, lenient: bool = False) -> list[str]:
    """Register every known dataset; a second call replaces what the first registered.

    Known are the project's own and those that a ``dataset.json`` below the root describes.

    ``<name>_train`` gives one record per ref; ``<name>_val`` and ``<name>_test`` one per sentence;
    ``<name>_<split>_sentences`` asks every sentence of any split, ``<name>_<split>_shuffled`` asks
    each target with a sentence about another target of its image, and ``<name>_<split>_no_places``
    and ``<name>_<split>_no_categories`` ask every sentence without such words.

    Args:
        root: see ``dataset_root``.
        lenient: skip and count unusable records instead of raising (DATASETS.LENIENT).

    Returns:
        the registered names.
    """
    folder = dataset_root(root)
    names = []
    for info, split in itertools.product(known_datasets(folder).values(), SPLITS):
        load = partial(info.load, folder, split, lenient)
        for suffix, ask in ways_of_asking(info).items():
            names.append(register(info, split, suffix, partial(asked, load, ask), folder))
        usual = load if split == "train" else partial(asked, load, ask_every_sentence)
        names.append(register(info, split, "", usual, folder))
    return names


def register(
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
        annotation_root=str(info.annotations(folder)),
        image_root=str(info.images(folder)),
    )
    return name


def asked(load: Callable[[], list[ReferRecord]], ask: Asker) -> list[ReferRecord]:
    return ask(load())


def dataset_records(name: str) -> list[ReferRecord]:
    """Records of a registered dataset.

    Raises:
        ValueError: no dataset of that name is registered.
    """
    refuse_unknown(name)
    return DatasetCatalog.get(name)


def refuse_unknown(name: str) -> None:
    """Raise ValueError, listing what is registered, where no dataset of that name is."""
    registered = DatasetCatalog.list()
    if name not in registered:
        stems = sorted(
            key.removesuffix("_train")
            for key in registered
            if key.endswith("_train") and is_referring(key)
        )
        raise ValueError(
            f"unknown dataset {name!r}; known: {', '.join(stems)}, each with _train, _val or _test "
            "behind it"
        )


def is_referring(name: str) -> bool:
    return MetadataCatalog.get(name).get("evaluator_type") == EVALUATOR_TYPE
