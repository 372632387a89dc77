"""An instance file and its images -> a referring dataset, and what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from ...data.description_file import SPLITS
from ...data.grammar.any_targets import AnyTargets
from ...data.grammar.descriptions import KINDS
from ...data.grammar.statements import ABSENT, ABSENT_HARD, SEVERAL
from ...data.grammar.wording import wide_wording
from ...data.image_file import read_image_size
from ...data.plain_files import join_inside, read_json
from ...data.refer_writer import words_of
from ..defects import DefectLog
from ..triplets import Target, stable_id
from ..writing import FinishedGroup, FinishedMask, write_refer_dataset
from .any_targets import DescribedGroup, describe_any_targets
from .blocks import split_by_blocks
from .coco_instances import read_scenes
from .expressions import DescribedObject, SynthesisOptions, describe_scenes


@dataclass(frozen=True)
class Splits:
    """How images are divided: by shares and blocks of file numbers, or as a file says."""

    shares: Sequence[float] = (0.8, 0.05, 0.15)  # of train, val and test
    block: int = 10  # neighbouring file numbers that stay together
    seed: int = 0
    file: Path | None = None  # JSON: split -> list of image names; wins


def synthesize_expressions(
    root: Path,
    name: str,
    *,
    instances: Path,
    images: Path,
    not_exhaustive: Collection[str] = (),
    options: SynthesisOptions | None = None,
    splits: Splits | None = None,
    any_targets: AnyTargets | None = None,
) -> str:
    """Write a dataset of expressions for the instances of a COCO file.

    Args:
        root: what DETECTRON2_DATASETS shall name; ``<root>/<name>`` and
            ``<root>/images/<name>/JPEGImages`` are made.
        instances: COCO instance file, polygons or run lengths.
        images: folder of its images.
        not_exhaustive: categories of which not every object is labelled.
        any_targets: also write refs to several targets and to none, in images that have a split.

    Returns:
        the report as Markdown; ``<root>/<name>/build.json`` keeps it.

    Raises:
        FileExistsError: a dataset of this name is there.
        OSError, ValueError: see ``read_scenes``, ``split_by_blocks`` and ``write_refer_dataset``;
            nothing is written.
    """
    options, splits, log = options or SynthesisOptions(), splits or Splits(), DefectLog()
    scenes = read_scenes(
        instances,
        not_exhaustive=not_exhaustive,
        size_of=lambda file_name: read_image_size(join_inside(images, file_name)),
        log=log,
    )
    categories = sorted({found.category for scene in scenes for found in scene.objects})
    wording = wide_wording(categories)
    described, without = describe_scenes(
        tqdm(scenes, desc="scenes", unit="image"), wording=wording, options=options
    )
    if not described:
        raise ValueError(f"{instances}: no object can be singled out; {log.first()}")
    grouped: list[DescribedGroup] = []
    if any_targets is not None:
        singles = Counter(entry.scene.file_name for entry in described)
        grouped = describe_any_targets(
            tqdm(scenes, desc="any targets", unit="image"),
            singles,
            any_targets,
            wording=wording,
            options=options,
        )
        if splits.file is not None:
            # Such a file may name only the images that have targets of their own.
            named = read_split_file(splits.file)
            grouped = [group for group in grouped if group.scene.file_name in named]
    refs = [*map(_target, described), *(_group_ref(group) for group in grouped)]
    refs = _with_splits(refs, splits)
    targets, group_refs = refs[: len(described)], refs[len(described) :]
    report = _report(refs, without, log)
    finished = [
        FinishedMask(target, entry.target.mask, {"annotation_id": entry.target.annotation_id})
        for target, entry in zip(targets, described, strict=True)
    ]
    groups = None
    if any_targets is not None:
        groups = [_finish(*pair) for pair in zip(group_refs, grouped, strict=True)]
    record = {
        "instances": instances.name,
        "not_exhaustive": sorted(not_exhaustive),
        "options": asdict(options),
        "splits": {**asdict(splits), "file": splits.file and splits.file.name},
        "report": report,
    }
    if any_targets is not None:
        record["any_targets"] = asdict(any_targets)
    write_refer_dataset(root, name, finished, images=images, record=record, groups=groups)
    return report


def _target(entry: DescribedObject) -> Target:
    left, top, right, bottom = entry.target.box
    height, width = entry.scene.size
    return Target(
        target_id=stable_id(entry.scene.file_name, entry.target.annotation_id),
        image=entry.scene.file_name,
        box_xyxy=(left * width, top * height, right * width, bottom * height),
        category=entry.target.category,
        split="",
        sentences=tuple(expression.text for expression in entry.expressions),
        kinds=tuple(expression.kind for expression in entry.expressions),
    )


def _group_ref(group: DescribedGroup) -> Target:
    """The ref of a group; its box is empty."""
    members = [member.annotation_id for member in group.members]
    texts = tuple(expression.text for expression in group.expressions)
    return Target(
        target_id=stable_id(group.scene.file_name, "ref", group.category, *members, *texts),
        image=group.scene.file_name,
        box_xyxy=(0.0, 0.0, 0.0, 0.0),
        category=group.category,
        split="",
        sentences=texts,
        kinds=tuple(expression.kind for expression in group.expressions),
    )


def _finish(ref: Target, group: DescribedGroup) -> FinishedGroup:
    name = group.scene.file_name
    masks = {stable_id(name, member.annotation_id): member.mask for member in group.members}
    return FinishedGroup(ref, masks, group.scene.size)


def _with_splits(targets: Sequence[Target], splits: Splits) -> list[Target]:
    if splits.file is None:
        shares = dict(zip(SPLITS, splits.shares, strict=True))
        found = split_by_blocks(targets, shares, block=splits.block, seed=splits.seed)
    else:
        found = read_split_file(splits.file)
    missing = sorted({target.image for target in targets} - set(found))
    if missing:
        raise ValueError(
            f"{splits.file}: {len(missing)} images are in no split, the first is {missing[0]}"
        )
    return [replace(target, split=found[target.image]) for target in targets]


def read_split_file(path: Path) -> dict[str, str]:
    """Image name -> split, of a JSON file {"train": [names], "val": [...], "test": [...]}.

    Raises:
        OSError, ValueError: it cannot be read, has another form, or has an image twice.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not set(content) <= set(SPLITS):
        raise ValueError(f"{path}: expected lists of image names under {', '.join(SPLITS)}")
    found: dict[str, str] = {}
    for split, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: {split!r} is no list of image names")
        if repeated := [name for name in names if found.setdefault(name, split) != split]:
            raise ValueError(f"{path}: {repeated[0]} is in {split} and in {found[repeated[0]]}")
    return found


def _report(
    targets: Sequence[Target], without: Mapping[tuple[str, str], int], log: DefectLog
) -> str:
    """Expressions by kind and split, their lengths, and objects without one."""
    kinds = Counter((target.split, kind) for target in targets for kind in target.kinds)
    others = [kind for kind in (SEVERAL, ABSENT, ABSENT_HARD) if any(k == kind for _, k in kinds)]
    shown = [*KINDS, *others]
    rows: list[list[object]] = []
    for split in SPLITS:
        inside = [target for target in targets if target.split == split]
        lengths = [len(words_of(text)) for target in inside for text in target.sentences]
        if lengths:
            images = len({target.image for target in inside})
            mean, most = sum(lengths) / len(lengths), max(lengths)
            numbers = [kinds[split, kind] for kind in shown]
            rows.append([split, images, len(inside), *numbers, f"{mean:.1f}", most])
    header = ["split", "images", "refs" if others else "targets", *shown, "words", "most"]
    parts = [tabulate(rows, header, tablefmt="github")]
    if without:
        lost = [[category, why, number] for (category, why), number in sorted(without.items())]
        header = ["category", "without an expression, because", "objects"]
        parts.append(tabulate(lost, header, tablefmt="github"))
    if log.defects:
        parts.append(log.table())
    return "\n\n".join(parts)
