"""Sentences that single out one object, with the logical form that proves it.

A description is a category and constraints. Each constraint is true, false or undecided for an
object; undecided means too close to call. A description is unique when every constraint is true
for its target and, for every other object of the category, at least one is plainly false.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .scene import Scene, SceneObject, distance

LOWER_THIRD, UPPER_THIRD = 1 / 3, 2 / 3
REGION_MARGIN = 0.03  # distance from a region's border within which nobody would bet, image widths
ORDER_MARGIN = 0.06  # by which the leftmost object leads the next one
SIDE_MARGIN = 0.10  # by which an object must lie left of its landmark to be "left of" it
NEAREST_RATIO = 1.35  # the runner-up must be this much farther away

HORIZONTAL = ("left", "center", "right")
VERTICAL = ("upper", "middle", "lower")


class Constraint(Protocol):
    """Something that is true, false or undecided (None) for an object of a scene."""

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None: ...


@dataclass(frozen=True)
class InRegion:
    """The object's centre lies in one cell of a 3 x 3 grid over the image."""

    column: int
    row: int

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        return both(in_third(candidate.x, self.column), in_third(candidate.y, self.row))


@dataclass(frozen=True)
class InHalf:
    """The object's centre lies in the left, right, upper or lower half of the image."""

    side: str  # left, right, upper, lower

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        value = candidate.x if self.side in ("left", "right") else candidate.y
        ahead = 0.5 - value if self.side in ("left", "upper") else value - 0.5
        return decided(ahead, REGION_MARGIN)


@dataclass(frozen=True)
class Outermost:
    """No object of the category lies farther to one side."""

    side: str  # left, right, upper, lower

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        rivals = [other for other in scene.of_category(candidate.category) if other != candidate]
        lead = min((advance(candidate, other, self.side) for other in rivals), default=1.0)
        return decided(lead, ORDER_MARGIN)


@dataclass(frozen=True)
class SideOf:
    """The object lies to one side of a landmark."""

    side: str  # left, right, upper, lower
    landmark: SceneObject

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        ahead = advance(candidate, self.landmark, self.side)
        if ahead > SIDE_MARGIN:
            return True
        return False if ahead < SIDE_MARGIN / 4 else None


@dataclass(frozen=True)
class NearestTo:
    """No object of the category is nearer to a landmark."""

    landmark: SceneObject

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        return ranks_first(scene, candidate, self.landmark, farthest=False)


@dataclass(frozen=True)
class FarthestFrom:
    """No object of the category is farther from a landmark."""

    landmark: SceneObject

    def holds(self, scene: Scene, candidate: SceneObject) -> bool | None:
        return ranks_first(scene, candidate, self.landmark, farthest=True)


@dataclass(frozen=True)
class Description:
    """A category, and what else must be true of the target."""

    category: str
    constraints: tuple[Constraint, ...] = field(default=())

    @property
    def kind(self) -> str:
        """What it takes to understand it: category, position or relation."""
        if not self.constraints:
            return "category"
        relational = any(hasattr(constraint, "landmark") for constraint in self.constraints)
        return "relation" if relational else "position"

    def singles_out(self, scene: Scene, target: SceneObject) -> bool:
        """Whether the target is plainly the only object meant."""
        return all(
            all(constraint.holds(scene, candidate) is True for constraint in self.constraints)
            if candidate == target
            else any(constraint.holds(scene, candidate) is False for constraint in self.constraints)
            for candidate in scene.of_category(self.category)
        )


def unique_descriptions(scene: Scene, target: SceneObject) -> list[Description]:
    """All descriptions with at most one constraint that single out ``target``.

    An object that is alone in its category is described by it; another one by a position or by
    its relation to a landmark, an object that is alone in its own category.
    """
    if len(scene.of_category(target.category)) == 1:
        return [Description(target.category)]
    candidates = [
        Description(target.category, (constraint,))
        for constraint in [*position_constraints(), *relation_constraints(scene, target)]
    ]
    return [candidate for candidate in candidates if candidate.singles_out(scene, target)]


def true_clauses(scene: Scene, target: SceneObject) -> list[Constraint]:
    """Whatever else is plainly true of ``target``: landmarks for long sentences."""
    constraints = [*relation_constraints(scene, target), *position_constraints()]
    return [
        constraint
        for constraint in constraints
        if isinstance(constraint, SideOf | InHalf) and constraint.holds(scene, target) is True
    ]


def position_constraints() -> list[Constraint]:
    regions = [InRegion(column, row) for column in range(3) for row in range(3)]
    sides = ("left", "right", "upper", "lower")
    return [*regions, *(Outermost(side) for side in sides), *(InHalf(side) for side in sides)]


def relation_constraints(scene: Scene, target: SceneObject) -> list[Constraint]:
    """Constraints to every landmark: an object alone in its category, and not the target."""
    found: list[Constraint] = []
    for landmark in scene.objects:
        if landmark == target or len(scene.of_category(landmark.category)) > 1:
            continue
        found.extend(SideOf(side, landmark) for side in ("left", "right", "upper", "lower"))
        found.extend((NearestTo(landmark), FarthestFrom(landmark)))
    return found


def choose_descriptions(
    scene: Scene, target: SceneObject, rng: np.random.Generator, most: int = 3
) -> list[Description]:
    """Up to ``most`` descriptions of the target, relations before positions, in random order."""
    candidates = unique_descriptions(scene, target)
    order = rng.permutation(len(candidates))
    by_kind: dict[str, list[Description]] = {"category": [], "position": [], "relation": []}
    for index in order:
        by_kind[candidates[index].kind].append(candidates[index])
    # Relations are the rarest: most targets have positions, not all have landmarks.
    return (by_kind["category"] + by_kind["relation"][:2] + by_kind["position"])[:most]


def in_third(value: float, index: int) -> bool | None:
    low, high = (0.0, LOWER_THIRD, UPPER_THIRD)[index], (LOWER_THIRD, UPPER_THIRD, 1.0)[index]
    # The image's own border leaves no doubt.
    inner_low = low + REGION_MARGIN if low > 0 else low
    inner_high = high - REGION_MARGIN if high < 1 else high
    if inner_low <= value <= inner_high:
        return True
    return False if value < low - REGION_MARGIN or value > high + REGION_MARGIN else None


def decided(lead: float, margin: float) -> bool | None:
    """True for a clear lead, False for a clear deficit, None in between."""
    if lead > margin:
        return True
    return False if lead < -margin else None


def both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return True if first and second else None


def advance(candidate: SceneObject, other: SceneObject, side: str) -> float:
    """How far ``candidate`` lies beyond ``other`` towards ``side``, image widths."""
    along = {
        "left": other.x - candidate.x,
        "right": candidate.x - other.x,
        "upper": other.y - candidate.y,
        "lower": candidate.y - other.y,
    }
    return along[side]


def ranks_first(
    scene: Scene, candidate: SceneObject, landmark: SceneObject, *, farthest: bool
) -> bool | None:
    """Whether the candidate is plainly the nearest (or farthest) of its category."""
    own = distance(candidate, landmark)
    rivals = [
        distance(other, landmark)
        for other in scene.of_category(candidate.category)
        if other != candidate
    ]
    if not rivals:
        return True
    ratio = own / max(rivals) if farthest else min(rivals) / own
    if ratio > NEAREST_RATIO:
        return True
    return False if ratio < 1 / NEAREST_RATIO else None
