"""How an evaluation queries the targets: with every expression, or with changed ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import cast

from ..structures import ReferRecord

logger = logging.getLogger(__name__)


def query_every_expression(records: list[ReferRecord]) -> list[ReferRecord]:
    """One record per (ref, expression), as evaluation needs them; the input is not changed."""
    return [
        _select_expression(record, position)
        for record in records
        for position in range(len(record["expressions"]))
    ]


def _select_expression(record: ReferRecord, position: int) -> ReferRecord:
    """The record with only one of its expressions."""
    query: ReferRecord = {
        **record,
        "sent_id": record["sent_ids"][position],
        "sent_ids": [record["sent_ids"][position]],
        "expressions": [record["expressions"][position]],
    }
    if "sentence_kinds" in record:
        query["sentence_kinds"] = [record["sentence_kinds"][position]]
    return query


def query_without_words(
    records: list[ReferRecord], *, find: Callable[[str], list[tuple[int, int]]]
) -> list[ReferRecord]:
    """Query with every expression after removing some of its words, to see if a model needs them.

    Args:
        records: one per ref.
        find: gives the spans of the words to remove, characters (first, one past the last).

    Returns:
        one record per expression that has such words and others; the rest is counted in the log.

    Raises:
        ValueError: no expression has both.
    """
    changed = []
    queries = query_every_expression(records)
    for record in queries:
        (expression,) = record["expressions"]
        spans = find(expression)
        rest = _remove_spans(expression, spans)
        if spans and rest:
            changed.append(cast(ReferRecord, {**record, "expressions": [rest]}))
    if not changed:
        raise ValueError(
            f"none of {len(queries)} expressions has both such words and others, so none is left "
            "without them"
        )
    logger.info(
        "left out %d of %d expressions that have no such words, or no others",
        len(queries) - len(changed),
        len(queries),
    )
    return changed


def _remove_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """Remove the characters of some spans and make spaces single."""
    kept = [
        character
        for position, character in enumerate(text)
        if not any(first <= position < last for first, last in spans)
    ]
    return " ".join("".join(kept).split())


def _query_with_expression_of(target: ReferRecord, other: ReferRecord) -> ReferRecord:
    """A target's record with the first expression of another target."""
    return {
        **_select_expression(other, 0),
        "category_id": target["category_id"],
        "annotations": target["annotations"],
        "ref_id": target["ref_id"],
    }


def query_with_other_expressions(records: list[ReferRecord]) -> list[ReferRecord]:
    """Query each target with an expression about another target of its image.

    The mask and the ref stay the target's; the expression keeps its own id and kind. A model that
    reads the expression scores low: it segments the other target. Targets alone in their image are
    left out and counted in the log.

    Args:
        records: one per ref.

    Returns:
        one record per ref with one expression, that of the next target of the image.

    Raises:
        ValueError: no image has two targets.
    """
    by_image: dict[int, list[ReferRecord]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    shuffled: list[ReferRecord] = []
    for together in by_image.values():
        if len(together) > 1:
            shuffled += map(_query_with_expression_of, together, together[1:] + together[:1])
    if not shuffled:
        raise ValueError("no image has two targets, so no target can get another's expression")
    alone = len(records) - len(shuffled)
    logger.info("left out %d of %d targets that are alone in their image", alone, len(records))
    return shuffled
