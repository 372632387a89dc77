"""From a reviewed workspace to one final mask per target, or the reason for leaving it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pycocotools import mask as coco_mask

from .consensus import Consensus
from .judging import JudgedMask
from .triplets import Target
from .writing import FinishedMask

REFUSE, KEEP, LEAVE_OUT = "refuse", "keep", "leave-out"


def finish_masks(
    judged: Sequence[JudgedMask],
    consensus: Mapping[int, Consensus],
    *,
    segmenter: Mapping[str, str],
    undecided: str,
) -> tuple[list[FinishedMask], Counter[str]]:
    """Choose the masks to write, and count the outcomes.

    Args:
        judged: every target.
        consensus: of the reviewed targets.
        segmenter: its version.
        undecided: how to treat doubtful masks without a decision and disputes without a final one:
            ``refuse`` (an error), ``keep`` or ``leave-out``.

    Raises:
        ValueError: there are such targets, and ``undecided`` is ``refuse``.
    """
    outcomes: Counter[str] = Counter()
    finished: list[FinishedMask] = []
    waiting = 0
    for entry in judged:
        found = consensus.get(entry.target.target_id)
        question = _open_question(entry, found)
        if question and undecided != KEEP:
            waiting += 1
            outcomes[f"{question}, left out"] += 1
        elif found is not None and found.mask is None:
            outcomes["rejected, left out"] += 1
        elif found is None and coco_mask.area(entry.record.mask) == 0:
            outcomes["empty, left out"] += 1
        else:
            finished.append(_finish_mask(entry, found, segmenter))
            outcomes[finished[-1].provenance["made_by"]] += 1
    if waiting and undecided == REFUSE:
        raise ValueError(
            f"{waiting} targets are undecided: doubtful masks without a review, or disputes "
            "without a final decision. Review them, or pass --undecided keep or leave-out"
        )
    return finished, outcomes


def _open_question(entry: JudgedMask, found: Consensus | None) -> str:
    """Why a target is still undecided; "" if it is decided."""
    if found is None:
        return "unreviewed" if entry.verdict.is_doubtful else ""
    return "unsettled" if found.is_disputed else ""


def _finish_mask(
    entry: JudgedMask, found: Consensus | None, segmenter: Mapping[str, str]
) -> FinishedMask:
    """The mask of a target with its provenance."""
    own_name = segmenter.get("model_type", segmenter["name"])
    made_by = "segmenter" if found is None else found.made_by
    provenance = {
        "made_by": own_name if made_by == "segmenter" else made_by,
        "segmenter": own_name,
        "score": round(entry.verdict.score, 4),
        "reasons": list(entry.verdict.reasons),
        "annotators": [] if found is None else list(found.annotators),
    }
    mask = entry.record.mask if found is None or found.mask is None else found.mask
    return FinishedMask(entry.target, mask, provenance)


def assign_splits(
    finished: Sequence[FinishedMask], split_of_image: Mapping[str, str]
) -> list[FinishedMask]:
    """Assign masks to new splits; targets of one box in several old splits are joined."""
    groups: dict[tuple, list[FinishedMask]] = {}
    for entry in finished:
        groups.setdefault((entry.target.image, entry.target.box_xyxy), []).append(entry)
    return [
        replace(group[0], target=_join_targets([entry.target for entry in group], split_of_image))
        for group in groups.values()
    ]


def _join_targets(targets: Sequence[Target], split_of_image: Mapping[str, str]) -> Target:
    sentences = dict.fromkeys(text for target in targets for text in target.sentences)
    split = split_of_image[targets[0].image]
    return replace(targets[0], split=split, sentences=tuple(sentences))
