"""Compares every mask of a workspace with the quality limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tabulate import tabulate
from tqdm import tqdm

from .images import decode_mask
from .quality import MaskQuality, QualityLimits, Verdict, judge_quality, measure_mask
from .spreadsheet import write_spreadsheet
from .triplets import Target
from .workspace import MaskRecord, Workspace


@dataclass(frozen=True)
class JudgedMask:
    """A target with the segmenter's mask, its quality and the verdict."""

    target: Target
    record: MaskRecord
    quality: MaskQuality
    verdict: Verdict


def judge_workspace(workspace: Workspace, limits: QualityLimits) -> list[JudgedMask]:
    """Judge every target of a workspace; the worst comes first.

    Raises:
        FileNotFoundError: a target has no mask yet.
    """
    records = workspace.read_all_masks()
    targets = tqdm(workspace.targets(), desc="judging", unit="mask", leave=False)
    judged = [judge_mask(target, records[target.target_id], limits) for target in targets]
    return sorted(judged, key=lambda entry: (entry.verdict.score, entry.target.target_id))


def judge_mask(target: Target, record: MaskRecord, limits: QualityLimits) -> JudgedMask:
    quality = measure_mask(
        decode_mask(record.mask),
        target.box_xyxy,
        predicted_iou=record.predicted_iou,
        stability=record.stability,
        smallest_part=limits.smallest_part,
    )
    return JudgedMask(target, record, quality, judge_quality(quality, limits))


def format_reasons(judged: Sequence[JudgedMask]) -> str:
    """Markdown table of the number of masks that break each limit."""
    counts = Counter(_limit_name(reason) for entry in judged for reason in entry.verdict.reasons)
    rows = sorted(counts.items(), key=lambda row: -row[1])
    return tabulate(rows, ("limit broken", "masks"), tablefmt="github")


def _limit_name(reason: str) -> str:
    """A reason without its numbers: "stability 0.41 < 0.9" -> "stability <"."""
    return " ".join(word for word in reason.split() if not word[0].isdigit())


def write_quality(workspace: Workspace, judged: Sequence[JudgedMask]) -> None:
    """Write ``quality.csv`` into the workspace, a row per mask, the worst first."""
    rows = [_quality_row(entry) for entry in judged]
    header = [list(rows[0])] if rows else []
    path = workspace.folder / "quality.csv"
    write_spreadsheet(path, [*header, *(list(row.values()) for row in rows)])


def _quality_row(entry: JudgedMask) -> Mapping[str, object]:
    return {
        "target_id": entry.target.target_id,
        "image": entry.target.image,
        "category": entry.target.category,
        "score": round(entry.verdict.score, 4),
        **asdict(entry.quality),
        "reasons": "; ".join(entry.verdict.reasons),
    }
