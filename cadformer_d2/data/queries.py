"""How an evaluation queries the targets: with every expression, or with changed ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import cast

from ..structures import ReferRecord, mask_to_json

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
        Refs to none are left out too: without its place, "the pool on the left" may become true.

    Raises:
        ValueError: no expression has both.
    """
    changed = []
    queries = query_every_expression(records)
    for record in queries:
        (expression,) = record["expressions"]
        spans = find(expression)
        rest = _remove_spans(expression, spans)
        if spans and rest and record["annotations"]:
            changed.append(cast(ReferRecord, {**record, "expressions": [rest]}))
    if not changed:
        raise ValueError(
            f"none of {len(queries)} expressions has both such words and others, so none is left "
            "without them"
        )
    logger.info(
        "left out %d of %d expressions that have no such words, or no others, or no target",
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


def _is_about_others(target: ReferRecord, other: ReferRecord) -> bool:
    """Whether two records of an image have targets, and not one of them in common."""
    masks = [
        [str(mask_to_json(annotation["segmentation"])) for annotation in record["annotations"]]
        for record in (target, other)
    ]
    return all(masks) and set(masks[0]).isdisjoint(masks[1])


def query_with_other_expressions(records: list[ReferRecord]) -> list[ReferRecord]:
    """Query each target with an expression about another target of its image.

    The mask and the ref stay the target's; the expression keeps its own id and kind. A model that
    reads the expression scores low: it segments the other target. Targets alone in their image are
    left out and counted in the log, and so are refs to none and refs that share a target.

    Args:
        records: one per ref.

    Returns:
        one record per ref with one expression, that of the next ref of the image that is about
        other targets.

    Raises:
        ValueError: no image has two targets.
    """
    by_image: dict[int, list[ReferRecord]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    shuffled: list[ReferRecord] = []
    for together in by_image.values():
        for position, target in enumerate(together):
            following = together[position + 1 :] + together[:position]
            others = (other for other in following if _is_about_others(target, other))
            if (other := next(others, None)) is not None:
                shuffled.append(_query_with_expression_of(target, other))
    if not shuffled:
        raise ValueError("no image has two targets, so no target can get another's expression")
    alone = len(records) - len(shuffled)
    logger.info("left out %d of %d targets that are alone in their image", alone, len(records))
    return shuffled


def query_from_other_scenes(records: list[ReferRecord]) -> list[ReferRecord]:
    """Query each image with an expression of another image, the category of which it lacks.

    The sibling of ``query_with_other_expressions``: the right answer is that nothing is there. A
    category counts as lacking if no record of the image is about it, so this needs a dataset that
    labels its categories in full; an object that nobody describes is not known here. Expressions
    keep their ids and get the kind "absent".

    Args:
        records: one per ref.

    Returns:
        one record per image for which there is such an expression, without targets, under the id of
        the image's first ref.

    Raises:
        ValueError: no image lacks a category of another one.
    """
    by_image: dict[int, list[ReferRecord]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    shown = {key: {r["category_id"] for r in group} for key, group in by_image.items()}
    # Refs to none are no evidence for what another scene has.
    sources = [record for record in records if record["annotations"] and record["category_id"] >= 0]
    moved: list[ReferRecord] = []
    start = 0
    for image_id, (first, *_) in by_image.items():
        for step in range(len(sources)):
            source = sources[(start + step) % len(sources)]
            if source["category_id"] not in shown[image_id]:
                moved.append(_query_elsewhere(first, source))
                start += step + 1
                break
    if not moved:
        raise ValueError("no image lacks a category of another one, so no expression can be moved")
    logger.info(
        "moved an expression of another scene to %d of %d images", len(moved), len(by_image)
    )
    return moved


def _query_elsewhere(image: ReferRecord, source: ReferRecord) -> ReferRecord:
    """An image's record with the first expression of a ref of another one, and without targets."""
    query: ReferRecord = {
        **_select_expression(source, 0),
        "file_name": image["file_name"],
        "height": image["height"],
        "width": image["width"],
        "image_id": image["image_id"],
        "ref_id": image["ref_id"],
        "annotations": [],
    }
    if "sentence_kinds" in query:
        query["sentence_kinds"] = ["absent"]
    return query
