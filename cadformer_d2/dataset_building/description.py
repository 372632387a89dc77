"""Statistics of a dataset, as in the paper's Table I and more, from records or triplets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from ..data.description_file import SPLITS
from ..data.expression_roles import find_object_spans
from ..data.masks import unite_targets
from ..data.queries import query_every_expression
from ..data.refer_writer import words_of
from ..data.target_counts import count_by_targets
from ..structures import ReferRecord
from .texts import UNSEEN
from .triplets import GroundedTriplet

ALL, NO_CATEGORY = "all", "none named"


@dataclass(frozen=True)
class DescribedExpression:
    """One expression about one target."""

    split: str
    category: str
    sentence: str
    image: str
    target: object  # the same for all expressions about one target
    area_share: float | None  # of the mask in the image; None without a mask
    num_targets: int = 1


def describe_records(
    records: Iterable[ReferRecord], split: str, classes: Sequence[str]
) -> list[DescribedExpression]:
    """Describe every expression of a split; class names lose control characters."""
    described = []
    for record in query_every_expression(list(records)):
        num_targets = len(record["annotations"])
        pixels = record["height"] * record["width"]
        area_share = float(coco_mask.area(unite_targets(record))) / pixels if num_targets else None
        category_id = record["category_id"]
        category = UNSEEN.sub("", classes[category_id]) if category_id >= 0 else NO_CATEGORY
        (sentence,) = record["expressions"]
        target = (split, record["ref_id"])
        described.append(
            DescribedExpression(
                split, category, sentence, record["file_name"], target, area_share, num_targets
            )
        )
    return described


def describe_triplets(triplets: Iterable[GroundedTriplet]) -> list[DescribedExpression]:
    """Describe expressions that have boxes, but no masks yet."""
    return [
        DescribedExpression(t.split, t.category, t.sentence, t.image, (t.image, t.box_xyxy), None)
        for t in triplets
    ]


@dataclass(frozen=True)
class Summary:
    """Statistics of a dataset."""

    splits: tuple[str, ...]
    sentences: Counter[tuple[str, str]]  # by (category, split)
    targets: Counter[str]  # by split; under ALL of the dataset, where shared ones count once
    images: Counter[str]  # the same
    num_words: np.ndarray  # (N,) int: words of each sentence, separated by spaces
    num_plain_words: np.ndarray  # (N,) int: without punctuation, also separated by hyphens
    num_categories: np.ndarray  # (N,) int: distinct categories that each sentence names
    area_shares: np.ndarray  # (M,) float: of each mask that is not empty, in [0, 1]
    by_targets: dict[str, int]  # sentences, see count_by_targets

    @property
    def categories(self) -> list[str]:
        return sorted({category for category, _ in self.sentences})


def summarise(described: Sequence[DescribedExpression]) -> Summary:
    """
    Raises:
        ValueError: no sentences.
    """
    if not described:
        raise ValueError("there are no sentences to describe")
    found = {entry.split for entry in described}
    splits = [split for split in SPLITS if split in found]
    splits += sorted(found - set(SPLITS))
    categories = sorted({entry.category for entry in described})
    areas = {e.target: e.area_share for e in described if e.area_share is not None}
    texts = [entry.sentence for entry in described]
    return Summary(
        splits=tuple(splits),
        sentences=Counter((entry.category, entry.split) for entry in described),
        targets=_count_distinct(described, lambda entry: entry.target),
        images=_count_distinct(described, lambda entry: entry.image),
        num_words=np.array([len(text.split()) for text in texts]),
        num_plain_words=np.array([len(words_of(text)) for text in texts]),
        num_categories=np.array([count_named_categories(text, categories) for text in texts]),
        area_shares=np.array(list(areas.values()), float),
        by_targets=count_by_targets(entry.num_targets for entry in described),
    )


def _count_distinct(
    described: Iterable[DescribedExpression], value_of: Callable[[DescribedExpression], object]
) -> Counter[str]:
    """Count the distinct values in each split and, under ``ALL``, in the whole dataset."""
    described = list(described)
    counts = Counter(split for split, _ in {(e.split, value_of(e)) for e in described})
    counts[ALL] = len({value_of(entry) for entry in described})
    return counts


def count_named_categories(sentence: str, categories: Sequence[str]) -> int:
    """Count the distinct categories that a sentence names; plurals count, parts of words do not."""
    spans = find_object_spans(sentence, categories)
    names = {sentence[first:last].lower() for first, last in spans}
    return len({_find_category(name, categories) for name in names})


def _find_category(name: str, categories: Sequence[str]) -> str:
    """The longest category that a name starts with."""
    fitting = [category for category in categories if name.startswith(category.lower())]
    return max(fitting, key=len, default=name)
