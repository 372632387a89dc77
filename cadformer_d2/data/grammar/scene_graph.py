"""What the grammar needs to know about a scene: its objects and their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar


class GraphObject(Protocol):
    """One object; x and y are its centre, fractions of the image's width and height."""

    @property
    def category(self) -> str: ...
    @property
    def x(self) -> float: ...  # to the right
    @property
    def y(self) -> float: ...  # down
    @property
    def area(self) -> float: ...  # fraction of the image


Found = TypeVar("Found", bound=GraphObject, covariant=True)


class SceneGraph(Protocol[Found]):
    """The objects of one image."""

    @property
    def objects(self) -> Sequence[Found]: ...
    @property
    def aspect(self) -> float: ...  # height / width of the image
    @property
    def order_margin(self) -> float: ...  # lead of the leftmost over the next, fraction of the axis

    def of_category(self, category: str) -> Sequence[Found]: ...

    def is_complete(self, category: str) -> bool:
        """Whether every object of a category is known; otherwise no statement may rely on it."""
        ...


def distance(scene: SceneGraph, a: GraphObject, b: GraphObject) -> float:
    """Between centres, in image widths."""
    return math.hypot(a.x - b.x, (a.y - b.y) * scene.aspect)


def rivals_of(scene: SceneGraph, candidate: GraphObject) -> list[GraphObject]:
    """The other objects of its category."""
    return [other for other in scene.of_category(candidate.category) if other != candidate]


def advance(candidate: GraphObject, other: GraphObject, side: str) -> float:
    """How far ``candidate`` lies beyond ``other`` towards ``side``, fractions of that axis."""
    along = {
        "left": other.x - candidate.x,
        "right": candidate.x - other.x,
        "upper": other.y - candidate.y,
        "lower": candidate.y - other.y,
    }
    return along[side]
