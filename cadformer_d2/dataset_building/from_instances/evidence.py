"""Whether the masks' pixels bear out what centres and areas say.

The grammar reasons with one point an object. That is enough for what was drawn; a real harbour
reaches across half an image. So a description is kept only where extents agree: the leftmost object
also begins farthest to the left, what lies "in the upper half" lies there with nearly all of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np

from ...data.grammar.constraints import (
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
from ...data.grammar.descriptions import Description
from ...data.grammar.scene_graph import GraphObject, advance
from ...data.grammar.statements import Statement, sides_of
from .observed import ObservedObject, ObservedScene

# Shares of a mask: what lies in a half lies there with nearly all of it, what does not, hardly.
MOSTLY_INSIDE, MOSTLY_OUTSIDE = 0.8, 0.35
HARDLY_INSIDE = 0.1  # of an object that is said not to be there
EDGE_LEAD = 0.01  # by which the outermost object's edge leads, fractions of the axis
NEARER = 0.9  # gap to the landmark, over the runner-up's
CUT_RATIO = 2.0  # in area, by which the largest leads what the border cuts
STEEPEST = 1.5  # how far across, for each step to the side, "left of" still fits


class Evidence:
    """The pixels of one scene, asked about its descriptions."""

    def __init__(self, scene: ObservedScene):
        self.scene = scene
        self._pixels: dict[GraphObject, np.ndarray] = {
            found: found.decode() for found in scene.objects
        }
        self._gap_to = lru_cache(maxsize=None)(self._measure_gaps)

    def supports(self, description: Description, target: ObservedObject) -> bool:
        """Whether the masks agree that the description means the target and nothing else."""
        return all(self._agrees(constraint, target) for constraint in description.constraints)

    def supports_all(self, statement: Statement) -> bool:
        """Whether the masks agree that a statement means its members and nothing else."""
        members = cast(tuple[ObservedObject, ...], statement.members)
        alike = self.scene.of_category(statement.description.category)
        rest = [found for found in alike if found not in members]
        return all(
            all(self._is_plain(constraint, member) for member in members)
            and all(self.denies(constraint, other) for other in rest)
            for constraint in statement.description.constraints
        )

    def _is_plain(self, constraint: Constraint, member: ObservedObject) -> bool:
        if isinstance(constraint, InHalf):
            return self._is_inside(constraint.side, member)
        if isinstance(constraint, SideOf):
            return _is_beside(member, constraint, self.scene.aspect)
        raise TypeError(f"{constraint!r} is not said of several objects")

    def denies(self, constraint: Constraint, candidate: ObservedObject) -> bool:
        """Whether the masks agree that a constraint is plainly false of an object."""
        if isinstance(constraint, InHalf):
            return self._share_in_half(candidate, constraint.side) <= HARDLY_INSIDE
        if isinstance(constraint, InRegion):
            if sides := sides_of(constraint):
                return any(self.denies(InHalf(side), candidate) for side in sides)
            return self._share_in_strip(candidate, constraint) <= HARDLY_INSIDE
        if isinstance(constraint, FirstAmong):
            return self.denies(constraint.half, candidate)
        if isinstance(constraint, SideOf):
            reach = _outer_edge(candidate, constraint.side)
            members = cast(tuple[ObservedObject, ...], constraint.landmark.members)
            return all(reach <= _outer_edge(member, constraint.side) for member in members)
        return False

    def _agrees(self, constraint: Constraint, target: ObservedObject) -> bool:
        rivals = [o for o in self.scene.of_category(target.category) if o != target]
        if isinstance(constraint, InHalf):
            return self._is_inside(constraint.side, target) and all(
                self._share_in_half(rival, constraint.side) <= MOSTLY_OUTSIDE for rival in rivals
            )
        if isinstance(constraint, InRegion):
            return self._fills_region(constraint, target) and all(
                self._share_in_strip(rival, constraint) <= MOSTLY_OUTSIDE for rival in rivals
            )
        if isinstance(constraint, Outermost | SizeRank):
            return self._beats(constraint, target, rivals)
        if isinstance(constraint, FirstAmong):
            half = constraint.half
            near = [r for r in rivals if self._share_in_half(r, half.side) > MOSTLY_OUTSIDE]
            return self._is_inside(half.side, target) and self._beats(constraint.rank, target, near)
        if isinstance(constraint, NthFrom):
            return self._stands_in_order(constraint.side, [target, *rivals])
        if isinstance(constraint, SideOf):
            return _is_beside(target, constraint, self.scene.aspect)
        if isinstance(constraint, NearestTo | FarthestFrom):
            return self._ranks_by_gap(constraint, target, rivals)
        raise TypeError(f"nothing is known about the pixels of {constraint!r}")

    def _is_inside(self, side: str, target: ObservedObject) -> bool:
        return self._share_in_half(target, side) >= MOSTLY_INSIDE

    def _fills_region(self, region: InRegion, target: ObservedObject) -> bool:
        """A place at a side or in a corner: nearly all of the object lies in those halves."""
        sides = [("left", None, "right")[region.column], ("upper", None, "lower")[region.row]]
        return all(self._is_inside(side, target) for side in sides if side is not None)

    def _beats(
        self, rank: Outermost | SizeRank, target: ObservedObject, rivals: list[ObservedObject]
    ) -> bool:
        if isinstance(rank, SizeRank):
            # How large the object is that the border cuts, nobody sees.
            if not rank.largest:
                return not target.is_cut
            return all(CUT_RATIO * r.area < target.area for r in rivals if r.is_cut)
        reach = _outer_edge(target, rank.side)
        return all(reach - _outer_edge(rival, rank.side) >= EDGE_LEAD for rival in rivals)

    def _stands_in_order(self, side: str, row: list[ObservedObject]) -> bool:
        """Whether both edges of all objects come in the order of their centres."""
        by_centre = sorted(row, key=lambda o: advance(o, row[0], side))
        outer = [_outer_edge(o, side) for o in by_centre]
        inner = [-_outer_edge(o, _opposite(side)) for o in by_centre]
        return outer == sorted(outer) and inner == sorted(inner)

    def _ranks_by_gap(
        self,
        constraint: NearestTo | FarthestFrom,
        target: ObservedObject,
        rivals: list[ObservedObject],
    ) -> bool:
        gaps = self._gap_to(constraint.landmark)
        own, others = gaps[target], [gaps[rival] for rival in rivals]
        if isinstance(constraint, NearestTo):
            return own <= NEARER * min(others, default=np.inf)
        return NEARER * own >= max(others, default=0.0)

    def _measure_gaps(self, landmark: Landmark) -> dict[ObservedObject, float]:
        """Free pixels between a landmark and every object."""
        members = [self._pixels[member] for member in landmark.members]
        outside = (~np.any(members, axis=0)).astype(np.uint8)
        away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return {o: float(away[self._pixels[o]].min()) for o in self.scene.objects}

    def _share_in_half(self, found: ObservedObject, side: str) -> float:
        """Share of an object's pixels in one half of the image, in [0, 1]."""
        height, width = self.scene.size
        pixels = self._pixels[found]
        halves = {
            "left": pixels[:, : width // 2],
            "right": pixels[:, width // 2 :],
            "upper": pixels[: height // 2],
            "lower": pixels[height // 2 :],
        }
        return float(halves[side].sum() / pixels.sum())

    def _share_in_strip(self, found: ObservedObject, region: InRegion) -> float:
        """Share of an object's pixels where a place's name may be taken to reach, in [0, 1].

        A corner and the center are cells of the 3 x 3 grid. "At the bottom" names no column, so
        what lies in a lower corner lies there as well.
        """
        height, width = self.scene.size
        rows = slice(height * region.row // 3, height * (region.row + 1) // 3)
        columns = slice(width * region.column // 3, width * (region.column + 1) // 3)
        if region.row == 1 and region.column != 1:
            rows = slice(None)
        if region.column == 1 and region.row != 1:
            columns = slice(None)
        pixels = self._pixels[found]
        return float(pixels[rows, columns].sum() / pixels.sum())


def _outer_edge(found: ObservedObject, side: str) -> float:
    """How far an object reaches towards a side; larger is farther."""
    left, top, right, bottom = found.box
    return {"left": -left, "right": right, "upper": -top, "lower": bottom}[side]


def _opposite(side: str) -> str:
    return {"left": "right", "right": "left", "upper": "lower", "lower": "upper"}[side]


def _is_beside(target: ObservedObject, constraint: SideOf, aspect: float) -> bool:
    """Whether nobody would object to "left of": clear of the landmarks' middles, not far across."""
    return all(
        _is_beside_one(target, member, constraint.side, aspect)
        for member in constraint.landmark.members
    )


def _is_beside_one(target: ObservedObject, landmark: GraphObject, side: str, aspect: float) -> bool:
    ahead = advance(target, landmark, side)
    inner = -_outer_edge(target, _opposite(side))
    middle = {
        "left": -landmark.x,
        "right": landmark.x,
        "upper": -landmark.y,
        "lower": landmark.y,
    }[side]
    if side in ("left", "right"):
        across = abs(target.y - landmark.y) * aspect
    else:
        across, ahead = abs(target.x - landmark.x), ahead * aspect
    return inner >= middle and across <= STEEPEST * ahead
