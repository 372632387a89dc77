"""Expressions for the objects of observed scenes, and why others have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.grammar.descriptions import (
    Description,
    choose_by_kind,
    propose_group_relations,
    propose_places,
    propose_ranks,
    propose_relations,
    propose_sizes,
    unique_descriptions,
)
from ...data.grammar.phrasing import write_expression
from ...data.grammar.wording import Wording
from ..triplets import stable_id
from .evidence import Evidence
from .observed import ObservedObject, ObservedScene

PROPOSERS = (
    *(propose_places, propose_relations, propose_group_relations),
    *(propose_sizes, propose_ranks),
)
NOT_EXHAUSTIVE = "not every object of its category is labelled"
TOO_SMALL = "too small"
TOO_MANY_ALIKE = "too many of its category"
AMBIGUOUS = "nothing singles it out plainly"
# Beyond this many of one category, "the leftmost" is true and still nobody's way to point.
MOST_ALIKE = 25


@dataclass(frozen=True)
class WrittenExpression:
    """An expression and what it takes to understand it."""

    text: str
    kind: str


@dataclass(frozen=True)
class DescribedObject:
    """A target with its expressions, at least one."""

    scene: ObservedScene
    target: ObservedObject
    expressions: tuple[WrittenExpression, ...]


@dataclass(frozen=True)
class SynthesisOptions:
    """
    Raises:
        ValueError: a count below one or a share outside [0, 1].
    """

    most_expressions: int = 6  # of one target
    long_share: float = 0.25  # of expressions with further true clauses
    least_area: float = 0.0004  # of a target, fraction of the image: 26 pixels of 256 x 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.most_expressions < 1:
            raise ValueError(f"{self.most_expressions} expressions a target; one is the least")
        for name in ("long_share", "least_area"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share of 0 to 1")


def describe_scenes(
    scenes: Iterable[ObservedScene], *, wording: Wording, options: SynthesisOptions
) -> tuple[list[DescribedObject], Counter[tuple[str, str]]]:
    """Expressions for every object that something singles out.

    What is written about an image depends on its name, its masks, the wording and the options.

    Returns:
        the targets with their expressions, and how many objects have none, by category and reason.
    """
    described: list[DescribedObject] = []
    without: Counter[tuple[str, str]] = Counter()
    for scene in scenes:
        evidence = Evidence(scene)
        for target in scene.objects:
            rng = np.random.default_rng(
                stable_id(options.seed, scene.file_name, target.annotation_id)
            )
            written, reason = _describe(target, evidence, wording, options, rng)
            if written:
                described.append(DescribedObject(scene, target, written))
            else:
                without[target.category, reason] += 1
    return described, without


def _describe(
    target: ObservedObject,
    evidence: Evidence,
    wording: Wording,
    options: SynthesisOptions,
    rng: np.random.Generator,
) -> tuple[tuple[WrittenExpression, ...], str]:
    """Expressions of one object, or the reason why it has none."""
    scene = evidence.scene
    if not scene.is_complete(target.category):
        return (), NOT_EXHAUSTIVE
    if target.area < options.least_area:
        return (), TOO_SMALL
    if len(scene.of_category(target.category)) > MOST_ALIKE:
        return (), TOO_MANY_ALIKE
    candidates = [
        description
        for description in unique_descriptions(scene, target, PROPOSERS)
        if evidence.supports(description, target)
    ]
    if not candidates:
        return (), AMBIGUOUS
    written: dict[str, WrittenExpression] = {}
    for description in _repeat(choose_by_kind(candidates, rng, options.most_expressions), options):
        is_long = bool(rng.random() < options.long_share)
        text = write_expression(scene, target, description, long=is_long, wording=wording, rng=rng)
        written.setdefault(text, WrittenExpression(text, description.kind))
    return tuple(written.values()), ""


def _repeat(chosen: Sequence[Description], options: SynthesisOptions) -> list[Description]:
    """A category that says it all is said in half as many ways as the rest may be."""
    if len(chosen) == 1:
        return [chosen[0]] * max(1, options.most_expressions // 2)
    return list(chosen)
