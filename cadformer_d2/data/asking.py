"""Which sentence each record asks: all of them in evaluation, or another target's."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import cast

from ..structures import ReferRecord

logger = logging.getLogger(__name__)


def ask_every_sentence(records: list[ReferRecord]) -> list[ReferRecord]:
    """One record per (ref, sentence), as evaluation needs them; the input is left as it is."""
    return [
        ask_sentence(record, position)
        for record in records
        for position in range(len(record["expressions"]))
    ]


def ask_sentence(record: ReferRecord, position: int) -> ReferRecord:
    """The record with one of its sentences only."""
    asked: ReferRecord = {
        **record,
        "sent_id": record["sent_ids"][position],
        "sent_ids": [record["sent_ids"][position]],
        "expressions": [record["expressions"][position]],
    }
    if "sentence_kinds" in record:
        asked["sentence_kinds"] = [record["sentence_kinds"][position]]
    return asked


def ask_without(
    records: list[ReferRecord], *, find: Callable[[str], list[tuple[int, int]]]
) -> list[ReferRecord]:
    """Every sentence with some of its words taken away: what does a model need them for?

    Args:
        records: one per ref.
        find: characters (first, one past the last) of the words to take away.

    Returns:
        one record per sentence that has such words and others; the number left out is logged.

    Raises:
        ValueError: no sentence has.
    """
    changed = []
    asked = ask_every_sentence(records)
    for record in asked:
        (expression,) = record["expressions"]
        spans = find(expression)
        rest = without_spans(expression, spans)
        if spans and rest:
            changed.append(cast(ReferRecord, {**record, "expressions": [rest]}))
    if not changed:
        raise ValueError(
            f"none of {len(asked)} sentences has such words and others beside them, so none can be "
            "asked without"
        )
    logger.info(
        "%d of %d sentences have no such words, or no others: left out",
        len(asked) - len(changed),
        len(asked),
    )
    return changed


def without_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """The text without the characters of some spans, with single spaces."""
    kept = [
        character
        for position, character in enumerate(text)
        if not any(first <= position < last for first, last in spans)
    ]
    return " ".join("".join(kept).split())


def ask_about(target: ReferRecord, other: ReferRecord) -> ReferRecord:
    """A target's record with the first sentence of another."""
    return {
        **ask_sentence(other, 0),
        "category_id": target["category_id"],
        "annotations": target["annotations"],
        "ref_id": target["ref_id"],
    }


def ask_about_another(records: list[ReferRecord]) -> list[ReferRecord]:
    """Each target with a sentence about another target of its image, still with its own mask.

    The sentence comes with its own id and kind; the ref stays the target's.

    A model that reads the sentence scores low on these: it segments the other target. Targets that
    are alone in their image are left out, and their number is logged.

    Args:
        records: one per ref.

    Returns:
        one record per ref with one expression, that of the image's next target.

    Raises:
        ValueError: no image has two targets.
    """
    by_image: dict[int, list[ReferRecord]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    shuffled: list[ReferRecord] = []
    for together in by_image.values():
        if len(together) > 1:
            shuffled += map(ask_about, together, together[1:] + together[:1])
    if not shuffled:
        raise ValueError("no image has two targets, so none can be asked about another of them")
    alone = len(records) - len(shuffled)
    logger.info("%d of %d targets are alone in their image: left out", alone, len(records))
    return shuffled
