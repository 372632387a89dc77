"""Statements about an object that are true, false or too close to call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .scene_graph import GraphObject, SceneGraph, advance, distance, rivals_of

SIDES = ("left", "right", "upper", "lower")
HORIZONTAL = ("left", "center", "right")
VERTICAL = ("upper", "middle", "lower")

LOWER_THIRD, UPPER_THIRD = 1 / 3, 2 / 3
REGION_MARGIN = 0.03  # image widths from a region's border within which people may disagree
SIDE_MARGIN = 0.10  # by which an object must lie left of its landmark to be "left of" it
NEAREST_RATIO = 1.35  # the second nearest must be this much farther away
SIZE_RATIO = 1.3  # in area: a side 14 % longer


class Constraint(Protocol):
    """Something that is true, false or undecided (None) for an object of a scene."""

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None: ...


@dataclass(frozen=True)
class InRegion:
    """The object's centre lies in one cell of a 3 x 3 grid over the image."""

    column: int
    row: int

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        return _and(_is_in_third(candidate.x, self.column), _is_in_third(candidate.y, self.row))


@dataclass(frozen=True)
class InHalf:
    """The object's centre lies in the left, right, upper or lower half of the image."""

    side: str  # of SIDES
    margin: float = REGION_MARGIN  # from the middle, fraction of the axis

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        value = candidate.x if self.side in ("left", "right") else candidate.y
        ahead = 0.5 - value if self.side in ("left", "upper") else value - 0.5
        return _decide(ahead, self.margin)


@dataclass(frozen=True)
class Outermost:
    """No object of the category lies farther to one side."""

    side: str  # of SIDES

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        return self.beats(scene, candidate, rivals_of(scene, candidate))

    def beats(
        self, scene: SceneGraph, candidate: GraphObject, rivals: list[GraphObject]
    ) -> bool | None:
        """Whether the candidate comes first among these."""
        lead = min((advance(candidate, other, self.side) for other in rivals), default=1.0)
        return _decide(lead, scene.order_margin)


@dataclass(frozen=True)
class SizeRank:
    """No object of the category is larger, or none is smaller."""

    largest: bool

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        return self.beats(scene, candidate, rivals_of(scene, candidate))

    def beats(
        self, scene: SceneGraph, candidate: GraphObject, rivals: list[GraphObject]
    ) -> bool | None:
        """Whether the candidate comes first among these."""
        areas = [other.area for other in rivals]
        if not areas:
            return True
        ratio = candidate.area / max(areas) if self.largest else min(areas) / candidate.area
        return _decide_ratio(ratio, SIZE_RATIO)


@dataclass(frozen=True)
class FirstAmong:
    """The outermost or the largest of the objects in one half of the image."""

    half: InHalf
    rank: Outermost | SizeRank

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        if self.half.holds(scene, candidate) is not True:
            return self.half.holds(scene, candidate)
        inside = {rival: self.half.holds(scene, rival) for rival in rivals_of(scene, candidate)}
        if True not in inside.values():
            return None  # nobody calls an only one the largest
        # It must also beat objects that may or may not lie in the half.
        rivals = [rival for rival, is_inside in inside.items() if is_inside is not False]
        return self.rank.beats(scene, candidate, rivals)


@dataclass(frozen=True)
class NthFrom:
    """The object's place in a row, counted from one side."""

    side: str  # of SIDES
    number: int  # from 1

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        ahead = [advance(other, candidate, self.side) for other in rivals_of(scene, candidate)]
        if any(abs(step) < scene.order_margin for step in ahead):
            return None
        return sum(step > 0 for step in ahead) == self.number - 1


@dataclass(frozen=True)
class Landmark:
    """All objects of one category, one or more, to which others are related."""

    members: tuple[GraphObject, ...]

    @property
    def category(self) -> str:
        return self.members[0].category

    def distance_to(self, scene: SceneGraph, candidate: GraphObject) -> float:
        """To the nearest member's centre, in image widths."""
        return min(distance(scene, candidate, member) for member in self.members)


@dataclass(frozen=True)
class SideOf:
    """The object lies to one side of a landmark, of all its members."""

    side: str  # of SIDES
    landmark: Landmark

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        ahead = [advance(candidate, member, self.side) for member in self.landmark.members]
        if min(ahead) > SIDE_MARGIN:
            return True
        return False if max(ahead) < SIDE_MARGIN / 4 else None


@dataclass(frozen=True)
class NearestTo:
    """No object of the category is nearer to a landmark."""

    landmark: Landmark

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        return _ranks_first(scene, candidate, self.landmark, farthest=False)


@dataclass(frozen=True)
class FarthestFrom:
    """No object of the category is farther from a landmark."""

    landmark: Landmark

    def holds(self, scene: SceneGraph, candidate: GraphObject) -> bool | None:
        return _ranks_first(scene, candidate, self.landmark, farthest=True)


def _is_in_third(value: float, index: int) -> bool | None:
    low, high = (0.0, LOWER_THIRD, UPPER_THIRD)[index], (LOWER_THIRD, UPPER_THIRD, 1.0)[index]
    # The border of the image itself is not ambiguous.
    inner_low = low + REGION_MARGIN if low > 0 else low
    inner_high = high - REGION_MARGIN if high < 1 else high
    if inner_low <= value <= inner_high:
        return True
    return False if value < low - REGION_MARGIN or value > high + REGION_MARGIN else None


def _decide(lead: float, margin: float) -> bool | None:
    """True for a clear lead, False for a clear deficit, None in between."""
    if lead > margin:
        return True
    return False if lead < -margin else None


def _decide_ratio(ratio: float, margin: float) -> bool | None:
    """True for a ratio clearly above one, False for one clearly below, None in between."""
    if ratio > margin:
        return True
    return False if ratio < 1 / margin else None


def _and(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return True if first and second else None


def _ranks_first(
    scene: SceneGraph, candidate: GraphObject, landmark: Landmark, *, farthest: bool
) -> bool | None:
    """Whether the candidate is clearly the nearest (or farthest) of its category."""
    own = landmark.distance_to(scene, candidate)
    rivals = [landmark.distance_to(scene, other) for other in rivals_of(scene, candidate)]
    if not rivals:
        return True
    ratio = own / max(rivals) if farthest else min(rivals) / max(own, 1e-9)
    return _decide_ratio(ratio, NEAREST_RATIO)
