"""Descriptions that single out one object, with the logical form that proves it.

A description is a category and constraints. Each constraint is true, false or undecided for an
object; undecided means too close to call. A description is unique if every constraint is true for
its target and, for every other object of the category, at least one is clearly false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from .constraints import (
    SIDES,
    Constraint,
    FarthestFrom,
    FirstAmong,
    InHalf,
    InRegion,
    Landmark,
    NearestTo,
    NthFrom,
    Outermost,
    SideOf,
    SizeRank,
)
from .scene_graph import GraphObject, SceneGraph

KINDS = ("category", "relation", "size", "position")
LONGEST_ROW = 5  # objects; people do not count places in longer rows
SIZE_RANKS = (SizeRank(largest=True), SizeRank(largest=False))
LARGEST_GROUP = 8  # objects of a landmark


@dataclass(frozen=True)
class Description:
    """A category and constraints on the target."""

    category: str
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def kind(self) -> str:
        """What a reader needs to understand it, one of ``KINDS``."""
        if not self.constraints:
            return "category"
        if any(hasattr(constraint, "landmark") for constraint in self.constraints):
            return "relation"
        ranks = [getattr(constraint, "rank", constraint) for constraint in self.constraints]
        return "size" if any(isinstance(rank, SizeRank) for rank in ranks) else "position"

    def singles_out(self, scene: SceneGraph, target: GraphObject) -> bool:
        """Whether the description clearly means the target and nothing else."""
        return all(
            all(constraint.holds(scene, candidate) is True for constraint in self.constraints)
            if candidate == target
            else any(constraint.holds(scene, candidate) is False for constraint in self.constraints)
            for candidate in scene.of_category(self.category)
        )


Proposer = Callable[[SceneGraph, GraphObject], Sequence[Constraint]]


def propose_places(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """Cells of the image, extremes, halves."""
    regions = [InRegion(column, row) for column in range(3) for row in range(3)]
    return [*regions, *(Outermost(side) for side in SIDES), *(InHalf(side) for side in SIDES)]


def propose_relations(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """Constraints to every object that is alone in its category, other than the target."""
    return _relations_to(list_landmarks(scene, target.category, most=1))


def propose_group_relations(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """Constraints to all the objects of another category together: "the tennis courts"."""
    landmarks = list_landmarks(scene, target.category, most=LARGEST_GROUP)
    return _relations_to([landmark for landmark in landmarks if len(landmark.members) > 1])


def propose_sizes(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """The largest and the smallest."""
    return list(SIZE_RANKS)


def propose_ranks(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """The outermost or largest in a half, and places in a row that is short enough to count."""
    ranks: list[Outermost | SizeRank] = [*map(Outermost, SIDES), *SIZE_RANKS]
    found: list[Constraint] = [FirstAmong(InHalf(side), rank) for side in SIDES for rank in ranks]
    count = len(scene.of_category(target.category))
    if 3 <= count <= LONGEST_ROW:
        found += [NthFrom(side, number) for side in SIDES for number in range(2, count)]
    return found


def _relations_to(landmarks: Sequence[Landmark]) -> list[Constraint]:
    found: list[Constraint] = []
    for landmark in landmarks:
        found.extend(SideOf(side, landmark) for side in SIDES)
        found.extend((NearestTo(landmark), FarthestFrom(landmark)))
    return found


def list_landmarks(scene: SceneGraph, category: str, *, most: int) -> list[Landmark]:
    """The other categories of the scene with at most ``most`` objects, all of them known."""
    found: list[Landmark] = []
    for first in scene.objects:
        members = scene.of_category(first.category)
        is_other = first.category != category and first == members[0]
        if is_other and len(members) <= most and scene.is_complete(first.category):
            found.append(Landmark(tuple(members)))
    return found


def unique_descriptions(
    scene: SceneGraph, target: GraphObject, proposers: Sequence[Proposer]
) -> list[Description]:
    """All descriptions with at most one constraint that single out ``target``.

    An object that is alone in its category is described by the category, any other by one of the
    proposed constraints. Empty if the scene may have unknown objects of the category.
    """
    if not scene.is_complete(target.category):
        return []
    if len(scene.of_category(target.category)) == 1:
        return [Description(target.category)]
    candidates = [
        Description(target.category, (constraint,))
        for propose in proposers
        for constraint in propose(scene, target)
    ]
    return [candidate for candidate in candidates if candidate.singles_out(scene, target)]


def true_clauses(scene: SceneGraph, target: GraphObject) -> list[Constraint]:
    """Other constraints that are clearly true of ``target``, for long expressions."""
    constraints = [*propose_relations(scene, target), *propose_places(scene, target)]
    return [
        constraint
        for constraint in constraints
        if isinstance(constraint, SideOf | InHalf) and constraint.holds(scene, target) is True
    ]


class HasKind(Protocol):
    """A description, or a statement with one."""

    @property
    def kind(self) -> str: ...


Candidate = TypeVar("Candidate", bound=HasKind)


def choose_by_kind(
    candidates: Sequence[Candidate], rng: np.random.Generator, most: int
) -> list[Candidate]:
    """Up to ``most`` descriptions in random order, the kinds in turn, the rarest first."""
    by_kind: dict[str, list[Candidate]] = {kind: [] for kind in KINDS}
    for index in rng.permutation(len(candidates)):
        by_kind[candidates[index].kind].append(candidates[index])
    chosen: list[Candidate] = []
    while len(chosen) < most and any(by_kind.values()):
        chosen += [kept.pop() for kept in by_kind.values() if kept]
    return chosen[:most]
