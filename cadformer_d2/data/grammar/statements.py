"""Statements about any number of objects: several, all, one, or none.

A statement that means nothing in a scene is a true one of another scene: some objects of a category
are imagined in it, described, and taken away again. Its words are then those of true statements, so
that vocabulary gives nothing away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .constraints import (
    LOWER_THIRD,
    SIDE_MARGIN,
    SIDES,
    UPPER_THIRD,
    Constraint,
    FirstAmong,
    InHalf,
    InRegion,
    SideOf,
)
from .descriptions import Description, Proposer, list_landmarks, unique_descriptions
from .scene_graph import GraphObject, SceneGraph, advance

SEVERAL, ABSENT, ABSENT_HARD = "several", "absent", "absent_hard"
# Image widths from the middle within which an object is neither in one half nor denied to be there.
# Wider than for one object, of which the sentence says that it is the one.
HALF_MARGIN = 0.08
Denial = Callable[[Constraint, GraphObject], bool]


@dataclass(frozen=True)
class Statement:
    """A description and all that it means in the scene for which it was written."""

    scene: SceneGraph
    description: Description
    members: tuple[GraphObject, ...]
    is_about_all: bool  # asks for all that fit, however many; otherwise for the only one

    @property
    def kind(self) -> str:
        """Where it is true: ``SEVERAL``, or the description's."""
        return SEVERAL if len(self.members) > 1 else self.description.kind


@dataclass(frozen=True)
class ImaginedScene:
    """A scene whose objects of one category, if any, are replaced by others."""

    scene: SceneGraph
    category: str
    others: tuple[GraphObject, ...]

    @property
    def objects(self) -> Sequence[GraphObject]:
        kept = [found for found in self.scene.objects if found.category != self.category]
        return [*kept, *self.others]

    @property
    def aspect(self) -> float:
        return self.scene.aspect

    @property
    def order_margin(self) -> float:
        return self.scene.order_margin

    def of_category(self, category: str) -> Sequence[GraphObject]:
        return self.others if category == self.category else self.scene.of_category(category)

    def is_complete(self, category: str) -> bool:
        return category == self.category or self.scene.is_complete(category)


def find_meant(scene: SceneGraph, description: Description) -> list[GraphObject]:
    """All objects that a description means; none if it is too close to call for one of them."""
    meant = []
    for candidate in scene.of_category(description.category):
        if all(
            constraint.holds(scene, candidate) is True for constraint in description.constraints
        ):
            meant.append(candidate)
        elif not any(is_denied(constraint, candidate) for constraint in description.constraints):
            return []
    return meant


def state_about_all(scene: SceneGraph, category: str, *, most_members: int) -> list[Statement]:
    """All objects of a category, those in one half, those to one side of a landmark.

    Only what means at least one object; empty if the scene may have unknown ones.

    Args:
        most_members: of a landmark.
    """
    if not scene.is_complete(category):
        return []
    constraints: list[tuple[Constraint, ...]] = [()]
    constraints += [(InHalf(side, HALF_MARGIN),) for side in SIDES]
    constraints += [
        (SideOf(side, landmark),)
        for landmark in list_landmarks(scene, category, most=most_members)
        for side in SIDES
    ]
    stated = []
    for chosen in constraints:
        description = Description(category, chosen)
        if meant := find_meant(scene, description):
            stated.append(Statement(scene, description, tuple(meant), is_about_all=True))
    return stated


def state_about_one(
    scene: SceneGraph, target: GraphObject, proposers: Sequence[Proposer]
) -> list[Statement]:
    """Statements that single out one object."""
    return [
        Statement(scene, description, (target,), is_about_all=False)
        for description in unique_descriptions(scene, target, proposers)
    ]


def means_nothing(scene: SceneGraph, statement: Statement, deny: Denial) -> bool:
    """Whether nobody would say that a statement about an imagined scene fits the real one.

    Args:
        deny: whether a constraint is plainly false of an object, see ``is_denied``.
    """
    description = statement.description
    landmark_names = {
        constraint.landmark.category
        for constraint in description.constraints
        if hasattr(constraint, "landmark")
    }
    if any(not scene.of_category(name) for name in landmark_names):
        return True  # "next to the pool" where there is none
    return all(
        any(deny(constraint, candidate) for constraint in description.constraints)
        for candidate in scene.of_category(description.category)
    )


def is_denied(constraint: Constraint, candidate: GraphObject) -> bool:
    """Whether a constraint is false of an object beyond what people may disagree about.

    What compares with others, such as "the largest", is true of some object and never denied.
    """
    if isinstance(constraint, InHalf):
        return _is_in_half(candidate, _opposite(constraint.side))
    if isinstance(constraint, InRegion):
        if sides := sides_of(constraint):
            return any(_is_in_half(candidate, _opposite(side)) for side in sides)
        low, high = LOWER_THIRD - HALF_MARGIN, UPPER_THIRD + HALF_MARGIN
        return not (low <= candidate.x <= high and low <= candidate.y <= high)
    if isinstance(constraint, FirstAmong):
        return is_denied(constraint.half, candidate)
    if isinstance(constraint, SideOf):
        members = constraint.landmark.members
        beyond = max(advance(candidate, member, constraint.side) for member in members)
        return beyond < -SIDE_MARGIN / 2
    return False


def sides_of(region: InRegion) -> list[str]:
    """The sides of the image that a cell's name tells; none for the center."""
    named = (("left", None, "right")[region.column], ("upper", None, "lower")[region.row])
    return [side for side in named if side is not None]


def _is_in_half(candidate: GraphObject, side: str) -> bool:
    value = candidate.x if side in ("left", "right") else candidate.y
    ahead = 0.5 - value if side in ("left", "upper") else value - 0.5
    return ahead > HALF_MARGIN


def _opposite(side: str) -> str:
    return {"left": "right", "right": "left", "upper": "lower", "lower": "upper"}[side]
