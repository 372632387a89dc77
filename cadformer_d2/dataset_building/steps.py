"""The steps of ``cadformer dataset build``; each works on a workspace and returns a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tabulate import tabulate

from ..data.description_file import SPLITS
from ..structures import RunLengthMask
from .consensus import FINAL, Consensus, find_consensus, format_agreement, write_disputes
from .description import describe_triplets, summarise
from .description_report import format_markdown
from .finishing import assign_splits, finish_masks
from .judging import format_reasons, judge_workspace, write_quality
from .mask_building import build_masks
from .quality import QualityLimits, read_limits
from .readers import fixed_size, read_sizes_in_folder, read_triplets
from .review import export_review, import_review, make_review_images
from .segmenters import Segmenter
from .segmenters.grabcut import GrabCutSegmenter
from .splitting import split_images
from .triplets import Target
from .workspace import Workspace
from .writing import name_by_content, write_refer_dataset

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
    """Read boxes and sentences into a workspace; boxes that are read again keep their masks.

    Args:
        split: (name, file) of each split.
        image_size: height, width of every image if ``images`` is None.

    Raises:
        ValueError: the source has nothing usable.
    """
    workspace = Workspace(work)
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"{images} is not a folder; pass the folder of the images")
    image_sizes = (
        read_sizes_in_folder(images) if images is not None else fixed_size(*image_size or ())
    )
    triplets, log = read_triplets(
        source_format, split_files=dict(split), annotations=annotations, image_sizes=image_sizes
    )
    work.mkdir(parents=True, exist_ok=True)
    defects = work / "defects.csv"
    log.write(defects)
    if not triplets:
        raise ValueError(f"nothing is usable: {log.first()}; all defects: {defects}")
    workspace.write_triplets(triplets, images)
    description = format_markdown(str(work), summarise(describe_triplets(triplets)), {})
    return f"{log.table()}\n\nall defects: {defects}\n\n{description}"


def make_masks(*, work: Path, segmenter: str, device: str, boxes_per_pass: int) -> str:
    """Make a mask for every box that has none yet."""
    workspace = Workspace(work)
    number = build_masks(workspace, _build_segmenter(segmenter, device, boxes_per_pass))
    return f"{number} images segmented now; every target of {work} has a mask"


def _build_segmenter(name: str, device: str, boxes_per_pass: int) -> Segmenter:
    """Build a segmenter by name: ``GRABCUT``, or a SAM's folder or Hugging Face name."""
    if name == GRABCUT:
        return GrabCutSegmenter()
    from .segmenters.sam import SamSegmenter  # SAM's classes take seconds to import

    return SamSegmenter(name=name, device=device, boxes_per_pass=boxes_per_pass)


def judge_masks(*, work: Path, limits: Path) -> str:
    """Measure every mask and say how many are doubtful, and why."""
    workspace = Workspace(work)
    judged = judge_workspace(workspace, read_limits(limits))
    write_quality(workspace, judged)
    doubtful = sum(entry.verdict.is_doubtful for entry in judged)
    return (
        f"{doubtful} of {len(judged)} masks are doubtful; measures of all masks: "
        f"{work / 'quality.csv'}\n\n{format_reasons(judged)}"
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
    """Export masks for review: the doubtful, all, or the disputed ones.

    Args:
        undecided_by: leave out targets that this annotator has decided; None: leave out nothing.
        most: export at most this many, the worst; None: no limit.

    Raises:
        ValueError: there is nothing to review.
    """
    workspace, kept_limits = Workspace(work), read_limits(limits)
    judged = judge_workspace(workspace, kept_limits)
    masks: dict[int, RunLengthMask] = {}
    if disputes:
        found = _find_current_consensus(workspace, kept_limits)
        disputed = {key for key, consensus in found.items() if consensus.is_disputed}
        judged = [entry for entry in judged if entry.target.target_id in disputed]
        masks = {key: mask for key in disputed if (mask := found[key].mask) is not None}
    elif not everything:
        judged = [entry for entry in judged if entry.verdict.is_doubtful]
    decided = workspace.read_decisions().get(undecided_by or "", {})
    judged = [entry for entry in judged if entry.target.target_id not in decided][:most]
    if not judged:
        raise ValueError("there is no mask to review")
    images = make_review_images(judged, masks)
    export_review(images, tool=tool, source=workspace.read_image_folder(), folder=output)
    return f"{len(judged)} masks of {len(images)} images exported: {output}"


def import_answers(*, work: Path, review: Path, annotator: str) -> str:
    """Import an annotator's decisions from an exported folder."""
    if not annotator.isidentifier():
        raise ValueError(f"annotator is {annotator!r}; use letters, digits and _")
    workspace = Workspace(work)
    known = {target.target_id for target in workspace.targets()}
    decisions = import_review(review)
    strangers = set(decisions) - known
    if strangers:
        raise ValueError(
            f"{review}: {len(strangers)} targets are not in {work}; is it another workspace?"
        )
    workspace.write_decisions(annotator, decisions)
    verdicts = [decision.verdict for decision in decisions.values()]
    rows = [(verdict, verdicts.count(verdict)) for verdict in sorted(set(verdicts))]
    return tabulate(rows, (annotator, "targets"), tablefmt="github")


def compare_annotators(*, work: Path, limits: Path) -> str:
    """Report the agreement of the annotators and the number of disputed targets."""
    workspace, kept_limits = Workspace(work), read_limits(limits)
    decisions = workspace.read_decisions()
    if not decisions:
        raise ValueError(f"{work}: there are no decisions yet; run the step 'import' first")
    found = _find_current_consensus(workspace, kept_limits)
    path = work / "disputes.csv"
    disputed = write_disputes(path, found, decisions, workspace.targets())
    several = {name: given for name, given in decisions.items() if name != FINAL}
    return (
        f"{format_agreement(several)}\n\n{len(found)} targets decided, {disputed} disputed: "
        f"{path} (export --disputes exports them, import --annotator final settles them)"
    )


def _find_current_consensus(workspace: Workspace, limits: QualityLimits) -> dict[int, Consensus]:
    return find_consensus(workspace.read_decisions(), least_agreement=limits.least_agreement)


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
    """Write the dataset and report the outcome of every target."""
    workspace, kept_limits = Workspace(work), read_limits(limits)
    segmenter = workspace.read_segmenter()
    finished, outcomes = finish_masks(
        judge_workspace(workspace, kept_limits),
        _find_current_consensus(workspace, kept_limits),
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
        finished = assign_splits(finished, _make_new_splits(targets, workspace, shares, seed))
        record["splits"] = {"shares": shares, "seed": seed}
    write_refer_dataset(
        root,
        name,
        finished,
        images=workspace.read_image_folder(),
        record=record,
        allow_leakage=allow_leakage,
    )
    return f"{_format_outcomes(outcomes)}\n\n{len(finished)} targets written: {root / name}"


def _make_new_splits(
    targets: Sequence[Target], workspace: Workspace, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Assign images to new splits; copies of an image get the same one."""
    names = name_by_content((target.image for target in targets), workspace.read_image_folder())
    merged = [replace(target, image=names[target.image]) for target in targets]
    assigned = split_images(merged, shares, seed=seed)
    return {image: assigned[name] for image, name in names.items()}


def _format_outcomes(outcomes: Mapping[str, int]) -> str:
    rows = sorted(outcomes.items(), key=lambda row: -row[1])
    return tabulate(rows, ("mask", "targets"), tablefmt="github")
