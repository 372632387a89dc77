"""What a dataset holds, as the paper's Table I and beyond it; of records or of triplets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from ..data.description_file import SPLITS
from ..data.expression_roles import find_object_spans
from ..data.queries import query_every_expression
from ..data.refer_writer import words_of
from ..structures import ReferRecord
from .texts import UNSEEN
from .triplets import GroundedTriplet

ALL = "all"


@dataclass(frozen=True)
class DescribedSentence:
    """One sentence about one target."""

    split: str
    category: str
    sentence: str
    image: str
    target: object  # the same of all sentences about one target
    area_share: float | None  # of the mask in the image; None where there is no mask


def described_records(
    records: Iterable[ReferRecord], split: str, classes: Sequence[str]
) -> list[DescribedSentence]:
    """Every sentence of a split's records; classes without the characters a terminal obeys."""
    described = []
    for record in query_every_expression(list(records)):
        (annotation,) = record["annotations"]
        pixels = record["height"] * record["width"]
        area_share = float(coco_mask.area(annotation["segmentation"])) / pixels
        category = UNSEEN.sub("", classes[record["category_id"]])
        (sentence,) = record["expressions"]
        target = (split, record["ref_id"])
        described.append(
            DescribedSentence(split, category, sentence, record["file_name"], target, area_share)
        )
    return described


def described_triplets(triplets: Iterable[GroundedTriplet]) -> list[DescribedSentence]:
    """Sentences that have boxes, but no masks yet."""
    return [
        DescribedSentence(t.split, t.category, t.sentence, t.image, (t.image, t.box_xyxy), None)
        for t in triplets
    ]


@dataclass(frozen=True)
class Summary:
    """The numbers about a dataset."""

    splits: tuple[str, ...]
    sentences: Counter[tuple[str, str]]  # by (category, split)
    targets: Counter[str]  # by split; under ALL of the whole dataset, what splits share once
    images: Counter[str]  # the same
    num_words: np.ndarray  # (N,) int: words of each sentence, as a space separates them
    num_plain_words: np.ndarray  # (N,) int: without punctuation, hyphens separating too
    num_categories: np.ndarray  # (N,) int: different categories that each sentence names
    area_shares: np.ndarray  # (M,) float: of each target that has a mask, in [0, 1]

    @property
    def categories(self) -> list[str]:
        return sorted({category for category, _ in self.sentences})


def summarise(described: Sequence[DescribedSentence]) -> Summary:
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
        targets=distinct_by_split(described, lambda entry: entry.target),
        images=distinct_by_split(described, lambda entry: entry.image),
        num_words=np.array([len(text.split()) for text in texts]),
        num_plain_words=np.array([len(words_of(text)) for text in texts]),
        num_categories=np.array([named_categories(text, categories) for text in texts]),
        area_shares=np.array(list(areas.values()), float),
    )


def distinct_by_split(
    described: Iterable[DescribedSentence], value_of: Callable[[DescribedSentence], object]
) -> Counter[str]:
    """Number of different values in each split, and under ``ALL`` in the whole."""
    described = list(described)
    counts = Counter(split for split, _ in {(e.split, value_of(e)) for e in described})
    counts[ALL] = len({value_of(entry) for entry in described})
    return counts


def named_categories(sentence: str, categories: Sequence[str]) -> int:
    """How many different categories a sentence names; plurals count, parts of words do not."""
    spans = find_object_spans(sentence, categories)
    names = {sentence[first:last].lower() for first, last in spans}
    return len({canonical(name, categories) for name in names})


def canonical(name: str, categories: Sequence[str]) -> str:
    """The longest category that a found name begins with."""
    fitting = [category for category in categories if name.startswith(category.lower())]
    return max(fitting, key=len, default=name)
