"""The steps of ``cadformer dataset build``: each works on a workspace and returns a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tabulate import tabulate

from ..data.description_file import SPLITS
from ..structures import RunLengthMask
from .consensus import FINAL, Consensus, agreement_table, find_consensus, write_disputes
from .description import described_triplets, summarise
from .description_report import markdown
from .finishing import finished_masks, with_splits
from .judging import judged_masks, reason_table, write_quality
from .mask_building import build_masks
from .quality import QualityLimits, read_limits
from .readers import fixed_size, read_triplets, sizes_in_folder
from .review import export_review, import_review, review_images
from .segmenters import Segmenter
from .segmenters.grabcut import GrabCutSegmenter
from .splitting import stratified_split
from .triplets import Target
from .workspace import Workspace
from .writing import content_names, write_refer_dataset

GRABCUT = "grabcut"


def read_source(
    *,
    work: Path,
    source_format: str,
    split: Sequence[tuple[str, Path]],
    annotations: Path | None,
    images: Path | None,
    image_size: Sequence[int] | None,
) -> str:
    """Boxes and sentences into a workspace; masks of boxes that are read again are kept.

    Args:
        split: (name, file) of each split.
        image_size: height, width of every image, where ``images`` is None.

    Raises:
        ValueError: nothing in the source could be used.
    """
    workspace = Workspace(work)
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"{images} is not a folder; name that of the images")
    image_sizes = sizes_in_folder(images) if images is not None else fixed_size(*image_size or ())
    triplets, log = read_triplets(
        source_format, split_files=dict(split), annotations=annotations, image_sizes=image_sizes
    )
    work.mkdir(parents=True, exist_ok=True)
    defects = work / "defects.csv"
    log.write(defects)
    if not triplets:
        raise ValueError(f"nothing could be used: {log.first()}; each defect: {defects}")
    workspace.write_triplets(triplets, images)
    description = markdown(str(work), summarise(described_triplets(triplets)), {})
    return f"{log.table()}\n\neach defect: {defects}\n\n{description}"


def make_masks(*, work: Path, segmenter: str, device: str, boxes_per_pass: int) -> str:
    """A mask for every box that has none yet."""
    workspace = Workspace(work)
    number = build_masks(workspace, build_segmenter(segmenter, device, boxes_per_pass))
    return f"{number} images segmented now; every target of {work} has a mask"


def build_segmenter(name: str, device: str, boxes_per_pass: int) -> Segmenter:
    """The segmenter of a name: ``GRABCUT``, or a SAM's folder or Hugging Face name."""
    if name == GRABCUT:
        return GrabCutSegmenter()
    from .segmenters.sam import SamSegmenter  # SAM's classes take seconds to import

    return SamSegmenter(name=name, device=device, boxes_per_pass=boxes_per_pass)


def judge_masks(*, work: Path, limits: Path) -> str:
    """Measure every mask and say how many are doubtful, and why."""
    workspace = Workspace(work)
    judged = judged_masks(workspace, read_limits(limits))
    write_quality(workspace, judged)
    doubtful = sum(entry.verdict.is_doubtful for entry in judged)
    return (
        f"{doubtful} of {len(judged)} masks are doubtful; each mask's measures: "
        f"{work / 'quality.csv'}\n\n{reason_table(judged)}"
    )


def export_masks(
    *,
    work: Path,
    limits: Path,
    tool: str,
    output: Path,
    everything: bool,
    disputes: bool,
    undecided_by: str | None,
    most: int | None,
) -> str:
    """Give out masks for review: the doubtful, all, or those in dispute.

    Args:
        undecided_by: leave out what this annotator has decided already; None: nothing.
        most: at most so many, the worst; None for no limit.

    Raises:
        ValueError: there are none.
    """
    workspace, kept_limits = Workspace(work), read_limits(limits)
    judged = judged_masks(workspace, kept_limits)
    masks: dict[int, RunLengthMask] = {}
    if disputes:
        found = current_consensus(workspace, kept_limits)
        disputed = {key for key, consensus in found.items() if consensus.is_disputed}
        judged = [entry for entry in judged if entry.target.target_id in disputed]
        masks = {key: mask for key in disputed if (mask := found[key].mask) is not None}
    elif not everything:
        judged = [entry for entry in judged if entry.verdict.is_doubtful]
    decided = workspace.decisions().get(undecided_by or "", {})
    judged = [entry for entry in judged if entry.target.target_id not in decided][:most]
    if not judged:
        raise ValueError("no mask is to be reviewed")
    images = review_images(judged, masks)
    export_review(images, tool=tool, source=workspace.image_folder(), folder=output)
    return f"{len(judged)} masks of {len(images)} images: {output}"


def import_answers(*, work: Path, review: Path, annotator: str) -> str:
    """Take in what an annotator did in a folder that was given out."""
    if not annotator.isidentifier():
        raise ValueError(f"annotator is {annotator!r}; use letters, digits and _")
    workspace = Workspace(work)
    known = {target.target_id for target in workspace.targets()}
    decisions = import_review(review)
    strangers = set(decisions) - known
    if strangers:
        raise ValueError(
            f"{review}: {len(strangers)} targets are not of {work}; another workspace?"
        )
    workspace.write_decisions(annotator, decisions)
    verdicts = [decision.verdict for decision in decisions.values()]
    rows = [(verdict, verdicts.count(verdict)) for verdict in sorted(set(verdicts))]
    return tabulate(rows, (annotator, "targets"), tablefmt="github")


def compare_annotators(*, work: Path, limits: Path) -> str:
    """Agreement of the annotators, and how many targets are in dispute."""
    workspace, kept_limits = Workspace(work), read_limits(limits)
    decisions = workspace.decisions()
    if not decisions:
        raise ValueError(f"{work}: nobody has decided anything yet; run the step 'import' first")
    found = current_consensus(workspace, kept_limits)
    path = work / "disputes.csv"
    disputed = write_disputes(path, found, decisions, workspace.targets())
    several = {name: given for name, given in decisions.items() if name != FINAL}
    return (
        f"{agreement_table(several)}\n\n{len(found)} targets decided about, {disputed} in "
        f"dispute: {path} (export --disputes gives them out, import --annotator final ends them)"
    )


def current_consensus(workspace: Workspace, limits: QualityLimits) -> dict[int, Consensus]:
    return find_consensus(workspace.decisions(), least_agreement=limits.least_agreement)


def write_dataset(
    *,
    work: Path,
    limits: Path,
    name: str,
    root: Path,
    undecided: str,
    split_shares: Sequence[float] | None,
    seed: int,
    allow_leakage: bool,
) -> str:
    """Write the dataset and say what became of every target."""
    workspace, kept_limits = Workspace(work), read_limits(limits)
    segmenter = workspace.segmenter()
    finished, outcomes = finished_masks(
        judged_masks(workspace, kept_limits),
        current_consensus(workspace, kept_limits),
        segmenter=segmenter,
        undecided=undecided,
    )
    record: dict[str, object] = {
        "segmenter": dict(segmenter),
        "limits": asdict(kept_limits),
        "outcomes": dict(outcomes),
        "splits": "the source's",
    }
    if split_shares is not None:
        shares = dict(zip(SPLITS, split_shares, strict=True))
        targets = [entry.target for entry in finished]
        finished = with_splits(finished, new_splits(targets, workspace, shares, seed))
        record["splits"] = {"shares": shares, "seed": seed}
    write_refer_dataset(
        root,
        name,
        finished,
        images=workspace.image_folder(),
        record=record,
        allow_leakage=allow_leakage,
    )
    return f"{outcome_table(outcomes)}\n\n{len(finished)} targets written: {root / name}"


def new_splits(
    targets: Sequence[Target], workspace: Workspace, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """A split for each image; copies of one image get one."""
    names = content_names((target.image for target in targets), workspace.image_folder())
    merged = [replace(target, image=names[target.image]) for target in targets]
    assigned = stratified_split(merged, shares, seed=seed)
    return {image: assigned[name] for image, name in names.items()}


def outcome_table(outcomes: Mapping[str, int]) -> str:
    rows = sorted(outcomes.items(), key=lambda row: -row[1])
    return tabulate(rows, ("mask", "targets"), tablefmt="github")
