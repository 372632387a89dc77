"""Choosing what to say about several objects of a scene, and about none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .constraints import InHalf, InRegion, SideOf
from .descriptions import Proposer
from .scene_graph import GraphObject, SceneGraph
from .statements import (
    Denial,
    ImaginedScene,
    Statement,
    means_nothing,
    state_about_all,
    state_about_one,
)

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


@dataclass(frozen=True)
class Imagination:
    """What may be said about a scene that is not so."""

    scene: SceneGraph[Any]
    present: Sequence[str]  # categories of the scene, all objects of which are known
    absent: Sequence[str]  # categories that are certainly not in the scene
    # Objects of a category as another scene has them: one alone, or several. They may be more or
    # fewer if there is no such scene; none if the category is nowhere.
    imagine: Callable[[str, bool], Sequence[GraphObject]]
    proposers: Sequence[Proposer]
    relations: Sequence[Proposer]  # of those, what relates to landmarks
    most_members: int  # of a landmark
    deny: Denial

    def state_nothing(
        self, *, is_hard: bool, is_about_all: bool, rng: np.random.Generator
    ) -> list[Statement]:
        """Statements with the same imagined targets that mean nothing in the scene; may be empty.

        Args:
            is_hard: about a category that is there; otherwise about one that is not.
            is_about_all: ask for all that fit; otherwise for the only one.
        """
        for _ in range(ATTEMPTS):
            stated = self._imagine_statements(is_hard, is_about_all, rng)
            if stated := [s for s in stated if means_nothing(self.scene, s, self.deny)]:
                return stated
        return []

    def _imagine_statements(
        self, is_hard: bool, is_about_all: bool, rng: np.random.Generator
    ) -> list[Statement]:
        names = self.present if is_hard else self.absent
        lacks_landmark = is_hard and not is_about_all and rng.random() < NO_LANDMARK_SHARE
        added = self.absent if lacks_landmark else names
        if not names or not added:
            return []
        alone_share = ONE_OF_ALL_SHARE if is_about_all else ALONE_SHARE
        is_alone = lacks_landmark or (not is_hard and rng.random() < alone_share)
        category = added[int(rng.integers(len(added)))]
        others = tuple(self.imagine(category, is_alone))
        if not others:
            return []
        imagined = ImaginedScene(self.scene, category, others)
        if is_about_all:
            stated = state_about_all(imagined, category, most_members=self.most_members)
            return _pick_members(stated, rng)
        if lacks_landmark:
            known = [found for found in self.scene.objects if found.category in names]
            target = known[rng.integers(len(known))]
            return state_about_one(imagined, target, self.relations)
        target = others[rng.integers(len(others))]
        stated = state_about_one(imagined, target, self.proposers)
        if not is_hard and rng.random() < COMPARED_SHARE:
            return [s for s in stated if not _may_be_denied(s)] or stated
        return stated


def choose_several(
    stated: Sequence[Statement], number: int, rng: np.random.Generator
) -> list[list[Statement]]:
    """Choose up to ``number`` sets of objects at random, each with all statements about it."""
    by_members: dict[tuple, list[Statement]] = {}
    for statement in stated:
        by_members.setdefault(statement.members, []).append(statement)
    chosen: list[list[Statement]] = []
    while by_members and len(chosen) < number:
        wants_one = rng.random() < ONE_OF_ALL_SHARE
        fitting = [key for key in by_members if (len(key) == 1) == wants_one] or [*by_members]
        chosen.append(by_members.pop(fitting[rng.integers(len(fitting))]))
    return chosen


def choose_statements(
    stated: Sequence[Statement],
    rng: np.random.Generator,
    *,
    choose: Callable[[Sequence[Statement], np.random.Generator, int], list[Statement]],
) -> list[Statement]:
    """The statements that a ref says, at random.

    Args:
        stated: about the same objects, at least one.
        choose: of statements that single out one object, up to a number of them.
    """
    if not stated[0].is_about_all:
        return choose(stated, rng, SENTENCES_PER_REF)
    order = rng.permutation(len(stated))[:SENTENCES_PER_REF]
    return [stated[index] for index in order]


def draw_absent(
    imagination: Imagination,
    options: AnyTargets,
    *,
    about_all_share: float,
    rng: np.random.Generator,
) -> list[tuple[bool, list[Statement]]]:
    """Draw what refs to none say: whether a ref is hard, and its statements.

    Args:
        about_all_share: of true refs that ask for all; false ones do so as often.
    """
    drawn = []
    for _ in range(options.absent):
        is_hard = bool(rng.random() < options.hard_share)
        is_about_all = bool(rng.random() < about_all_share)
        stated = imagination.state_nothing(is_hard=is_hard, is_about_all=is_about_all, rng=rng)
        if stated:
            drawn.append((is_hard, stated))
    return drawn


def _pick_members(stated: Sequence[Statement], rng: np.random.Generator) -> list[Statement]:
    """The statements about the same objects as one drawn at random."""
    if not stated:
        return []
    meant = stated[int(rng.integers(len(stated)))].members
    return [statement for statement in stated if statement.members == meant]


def _may_be_denied(statement: Statement) -> bool:
    constraints = statement.description.constraints
    return any(isinstance(constraint, InHalf | InRegion | SideOf) for constraint in constraints)
