"""Refs of synthrs to several objects of a scene, or to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..class_names import RRSISHR_CLASSES
from ..grammar.constraints import InHalf, InRegion, SideOf
from ..grammar.descriptions import propose_relations
from ..grammar.phrasing import write_statement
from ..grammar.statements import (
    ABSENT,
    ABSENT_HARD,
    ImaginedScene,
    Statement,
    is_denied,
    means_nothing,
    state_about_all,
    state_about_one,
)
from .expressions import PROPOSERS, WORDING, choose_kinds
from .scene import DrawnScene, SceneObject, place_objects, sample_copies

SENTENCES_PER_REF = 3
# Of refs that ask for all, about one object: "all storage tanks" where there is one.
ONE_OF_ALL_SHARE = 0.25
# What compares ("the leftmost") or names a category alone is never plainly false where the category
# is, so hard refs cannot say it; refs to an absent category say it more often instead, until words
# tell little about whether a target is there.
ALONE_SHARE = 0.75  # of refs to an absent category, to one that would be alone
COMPARED_SHARE = 0.7  # of the others, to one told by a comparison
# Of hard refs, to what stands beside something that is not there.
NO_LANDMARK_SHARE = 0.2
ATTEMPTS = 30  # to find something false to say about a scene


@dataclass(frozen=True)
class AnyTargets:
    """How many refs of a scene have several targets or none.

    Raises:
        ValueError: a negative number, or a share outside [0, 1].
    """

    several: int = 1  # refs of a scene that ask for all that fit
    absent: int = 2  # refs of a scene that ask for what is not there
    # Of those, the share that asks for a category that is there, with a false place or relation.
    hard_share: float = 0.4

    def __post_init__(self) -> None:
        if min(self.several, self.absent) < 0 or not 0 <= self.hard_share <= 1:
            raise ValueError(
                f"{self.several} refs to several, {self.absent} to none, {self.hard_share} of them "
                "hard; expected numbers of at least 0 and a share of 0 to 1"
            )


def describe_any_targets(
    scene: DrawnScene,
    described: Sequence[dict[str, Any]],
    options: AnyTargets,
    *,
    style: str,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Refs to several objects and to none.

    Args:
        described: the refs to single objects.
        style: of the expressions: short, long or mixed.

    Returns:
        positions of the targets in the scene (none, one or several), category and sentences.
    """
    found = _describe_several(scene, options.several, style, rng)
    # As often as true sentences do, false ones ask for all that fit.
    share = len(found) / (len(found) + len(described))
    for _ in range(options.absent):
        is_hard = rng.random() < options.hard_share
        is_about_all = rng.random() < share
        for _ in range(ATTEMPTS):
            if stated := _state_nothing(scene, is_hard, is_about_all, rng):
                kind = ABSENT_HARD if is_hard else ABSENT
                found.append(_make_ref(scene, stated, style, rng, kind=kind))
                break
    return found


def _describe_several(
    scene: DrawnScene, number: int, style: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    by_members: dict[tuple, list[Statement]] = {}
    for category in dict.fromkeys(found.category for found in scene.objects):
        for statement in state_about_all(scene, category, most_members=1):
            by_members.setdefault(statement.members, []).append(statement)
    chosen: list[list[Statement]] = []
    while by_members and len(chosen) < number:
        wants_one = rng.random() < ONE_OF_ALL_SHARE
        fitting = [key for key in by_members if (len(key) == 1) == wants_one] or [*by_members]
        chosen.append(by_members.pop(fitting[rng.integers(len(fitting))]))
    return [_make_ref(scene, stated, style, rng) for stated in chosen]


def _state_nothing(
    scene: DrawnScene, is_hard: bool, is_about_all: bool, rng: np.random.Generator
) -> list[Statement]:
    """True statements about an imagined scene that mean nothing in this one; may be empty."""
    present = {found.category for found in scene.objects}
    absent = [name for name in RRSISHR_CLASSES if name not in present]
    names = sorted(present) if is_hard else absent
    category = names[rng.integers(len(names))]
    if is_about_all:
        is_alone = rng.random() < ONE_OF_ALL_SHARE and not is_hard
        imagined = _imagine(scene, category, rng, is_alone=is_alone)
        stated = _pick_members(state_about_all(imagined, category, most_members=1), rng)
    elif is_hard and rng.random() < NO_LANDMARK_SHARE:
        imagined = _imagine(scene, absent[rng.integers(len(absent))], rng, is_alone=True)
        target = scene.objects[rng.integers(len(scene.objects))]
        stated = state_about_one(imagined, target, (propose_relations,))
    else:
        is_alone = rng.random() < ALONE_SHARE and not is_hard
        imagined = _imagine(scene, category, rng, is_alone=is_alone)
        described = imagined.others[rng.integers(len(imagined.others))]
        stated = state_about_one(imagined, described, PROPOSERS)
        if not is_hard and rng.random() < COMPARED_SHARE:
            stated = [s for s in stated if not _may_be_denied(s)] or stated
    return [statement for statement in stated if means_nothing(scene, statement, is_denied)]


def _pick_members(stated: Sequence[Statement], rng: np.random.Generator) -> list[Statement]:
    """The statements about the same objects as one drawn at random."""
    meant = stated[int(rng.integers(len(stated)))].members
    return [statement for statement in stated if statement.members == meant]


def _may_be_denied(statement: Statement) -> bool:
    constraints = statement.description.constraints
    return any(isinstance(constraint, InHalf | InRegion | SideOf) for constraint in constraints)


def _imagine(
    scene: DrawnScene, category: str, rng: np.random.Generator, *, is_alone: bool
) -> ImaginedScene:
    """The scene with one or several objects of a category where another scene might have them."""
    others = place_objects([category] * (1 if is_alone else sample_copies(category, rng)), rng)
    return ImaginedScene(scene, category, tuple(others))


def _make_ref(
    scene: DrawnScene,
    stated: Sequence[Statement],
    style: str,
    rng: np.random.Generator,
    *,
    kind: str = "",
) -> dict[str, Any]:
    """
    Args:
        stated: about the same objects, at least one.
        kind: of statements that mean nothing in the scene; otherwise each has its own.
    """
    sentences = []
    for statement in _choose(stated, rng):
        is_long = style == "long" or (style == "mixed" and rng.random() < 0.5)
        text = write_statement(statement, long=is_long, wording=WORDING, rng=rng)
        sentences.append({"sent": text, "kind": kind or statement.kind})
    members: tuple[SceneObject, ...] = () if kind else stated[0].members  # type: ignore[assignment]
    return {
        "objects": [scene.objects.index(member) for member in members],
        "category": stated[0].description.category,
        "sentences": sentences,
    }


def _choose(stated: Sequence[Statement], rng: np.random.Generator) -> list[Statement]:
    if stated[0].is_about_all:
        order = rng.permutation(len(stated))[:SENTENCES_PER_REF]
        return [stated[index] for index in order]
    return choose_kinds(stated, rng, SENTENCES_PER_REF)
