"""Agreement and majority of several annotators."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ..structures import RunLengthMask
from .images import decode_mask, encode_mask, mask_iou
from .spreadsheet import write_spreadsheet
from .triplets import Target
from .workspace import EDITED, REJECTED, Decision

# The annotator who settles disputes.
FINAL = "final"


@dataclass(frozen=True)
class Consensus:
    """The outcome for one target."""

    mask: RunLengthMask | None  # None: rejected
    made_by: str  # segmenter, edited, consensus or final
    annotators: tuple[str, ...]
    least_agreement: float  # lowest IoU of two annotators' masks, in [0, 1]; 1 for one annotator
    is_disputed: bool


def find_consensus(
    decisions: Mapping[str, Mapping[int, Decision]], *, least_agreement: float
) -> dict[int, Consensus]:
    """Find the consensus on every target with a decision.

    Args:
        decisions: by annotator and target id; those of ``FINAL`` overrule all others.
        least_agreement: pairs of masks below this IoU are a dispute.

    Raises:
        ValueError: the masks of a target have different sizes.
    """
    targets = sorted({target_id for given in decisions.values() for target_id in given})
    found = {}
    for target_id in targets:
        given = {name: each[target_id] for name, each in decisions.items() if target_id in each}
        if FINAL in given:
            found[target_id] = Consensus(given[FINAL].mask, FINAL, (FINAL,), 1.0, False)
        else:
            _refuse_several_sizes(target_id, given)
            found[target_id] = _settle_target(given, least_agreement)
    return found


def _refuse_several_sizes(target_id: int, given: Mapping[str, Decision]) -> None:
    """Raise ValueError if a target's masks have different sizes, as after replacing its image."""
    sizes = {name: tuple(each.mask["size"]) for name, each in given.items() if each.mask}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name}'s {height} x {width}" for name, (height, width) in sizes.items())
        raise ValueError(
            f"target {target_id} has masks of different sizes (height x width: {said}), as if its "
            "image had been replaced; all annotators must review it again"
        )


def _settle_target(given: Mapping[str, Decision], least_agreement: float) -> Consensus:
    """Settle a target by majority; it is disputed if the decisions differ too much."""
    names = tuple(sorted(given))
    masks = [decode_mask(mask) for name in names if (mask := given[name].mask) is not None]
    rejections = len(names) - len(masks)
    pairs = itertools.combinations(masks, 2)
    least = min((mask_iou(first, second) for first, second in pairs), default=1.0)
    is_mixed = 0 < rejections < len(names)
    is_disputed = is_mixed or least < least_agreement
    if rejections * 2 >= len(names):
        return Consensus(None, "consensus", names, 0.0 if is_mixed else 1.0, is_disputed)
    voted = vote(masks)
    if not voted.any():  # two annotators with disjoint masks
        return Consensus(None, "consensus", names, least, True)
    return Consensus(encode_mask(voted), _mask_origin(given), names, least, is_disputed)


def _mask_origin(given: Mapping[str, Decision]) -> str:
    """Who made the mask: the segmenter unless an annotator changed it."""
    if all(decision.verdict not in (EDITED, REJECTED) for decision in given.values()):
        return "segmenter"
    return "edited" if len(given) == 1 else "consensus"


def vote(masks: list[np.ndarray]) -> np.ndarray:
    """Vote on each pixel of masks (H, W) bool; returns those in more than half of them."""
    return np.sum(masks, axis=0) * 2 > len(masks)


def format_agreement(decisions: Mapping[str, Mapping[int, Decision]]) -> str:
    """Markdown table of the common targets, equal verdicts and IoU of each pair of annotators."""
    rows = []
    for first, second in itertools.combinations(sorted(decisions), 2):
        common = sorted(set(decisions[first]) & set(decisions[second]))
        pairs = [(decisions[first][key], decisions[second][key]) for key in common]
        alike = sum((a.mask is None) == (b.mask is None) for a, b in pairs)
        ious = list(_pairwise_ious(pairs))
        mean, least = (np.mean(ious), np.min(ious)) if ious else (float("nan"), float("nan"))
        rows.append((first, second, len(common), alike, mean, least))
    header = ("annotator", "annotator", "targets", "same verdict", "mean IoU", "least IoU")
    return tabulate(rows, header, tablefmt="github", floatfmt=".3f")


def write_disputes(
    path: Path,
    found: Mapping[int, Consensus],
    decisions: Mapping[str, Mapping[int, Decision]],
    targets: Iterable[Target],
) -> int:
    """Write a CSV row for every disputed target, the least agreement first.

    Returns:
        the number of disputed targets.
    """
    disputed = {target_id: each for target_id, each in found.items() if each.is_disputed}
    rows = [target for target in targets if target.target_id in disputed]
    rows.sort(key=lambda target: disputed[target.target_id].least_agreement)
    table: list[Sequence[object]] = [("target_id", "image", "least_iou", "verdicts", "sentences")]
    for target in rows:
        key, found_least = target.target_id, disputed[target.target_id].least_agreement
        given = {name: each[key].verdict for name, each in decisions.items() if key in each}
        verdicts = ", ".join(f"{name}: {verdict}" for name, verdict in given.items())
        sentences = " / ".join(target.sentences)
        table.append((key, target.image, f"{found_least:.3f}", verdicts, sentences))
    write_spreadsheet(path, table)
    return len(rows)


def _pairwise_ious(pairs: Iterable[tuple[Decision, Decision]]) -> Iterable[float]:
    """IoU of the pairs that both have a mask."""
    for first, second in pairs:
        if first.mask is not None and second.mask is not None:
            yield mask_iou(decode_mask(first.mask), decode_mask(second.mask))
