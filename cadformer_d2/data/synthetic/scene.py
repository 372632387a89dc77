"""The scene graph from which an image is drawn and expressions are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..class_names import RRSISHR_CLASSES

# (shortest, longest) long side of an object and its short side / long side, in image widths.
SIZES = {
    "baseball field": (0.20, 0.30, 1.0),
    "basketball court": (0.18, 0.26, 0.58),
    "ground track field": (0.30, 0.42, 0.52),
    "roundabout": (0.17, 0.25, 1.0),
    "swimming pool": (0.13, 0.20, 0.62),
    "storage tank": (0.11, 0.18, 1.0),
    "tennis court": (0.18, 0.26, 0.54),
}
GAP = 0.02  # free ground kept between two objects, image widths


@dataclass(frozen=True)
class SceneObject:
    """One object. Lengths are fractions of the image's side; x runs right, y runs down."""

    category: str
    x: float  # centre
    y: float
    length: float  # long side
    width: float  # short side
    angle: float  # of the long side, radians
    style: int  # seed of colours and markings

    @property
    def area(self) -> float:
        """Of the rectangle around it, fraction of the image."""
        return self.length * self.width

    @property
    def radius(self) -> float:
        """Of a circle around the centre that holds the whole object."""
        return 0.5 * math.hypot(self.length, self.width)


@dataclass(frozen=True)
class DrawnScene:
    """Objects that do not overlap, and the seed of everything else in the image."""

    objects: tuple[SceneObject, ...]
    ground_style: int
    aspect: float = 1.0  # height / width of the image
    order_margin: float = 0.06  # by which the leftmost object leads the next one

    def of_category(self, category: str) -> list[SceneObject]:
        return [candidate for candidate in self.objects if candidate.category == category]

    def is_complete(self, category: str) -> bool:
        """Always: the generator knows all objects."""
        return True


def sample_scene(rng: np.random.Generator) -> DrawnScene:
    """Sample a scene of three to six objects; one category usually occurs two or three times."""
    objects = place_objects(_sample_categories(rng), rng)
    return DrawnScene(tuple(objects), ground_style=int(rng.integers(2**31)))


def place_objects(categories: Iterable[str], rng: np.random.Generator) -> list[SceneObject]:
    """Place one object of each category, clear of the others; leaves out what finds no room."""
    objects: list[SceneObject] = []
    for category in categories:
        placed = _place_object(category, objects, rng)
        if placed is not None:
            objects.append(placed)
    return objects


def sample_copies(category: str, rng: np.random.Generator) -> int:
    """Sample how many objects a category has that occurs more than once."""
    return int(rng.choice([2, 3], p=[0.6, 0.4])) if category != "ground track field" else 2


def _sample_categories(rng: np.random.Generator) -> list[str]:
    """Sample categories to place, largest first so that all find room."""
    names = rng.permutation(RRSISHR_CLASSES).tolist()
    repeated = names[0]
    copies = sample_copies(repeated, rng)
    singles = names[1 : 1 + int(rng.integers(1, 4))]
    return sorted([repeated] * copies + singles, key=lambda name: -SIZES[name][1])


def _place_object(
    category: str, others: list[SceneObject], rng: np.random.Generator, attempts: int = 60
) -> SceneObject | None:
    """Place an object clear of the others; None if no free place was found."""
    shortest, longest, ratio = SIZES[category]
    for attempt in range(attempts):
        # Later attempts are smaller: a crowded scene still gets its objects.
        length = rng.uniform(shortest, longest + (shortest - longest) * attempt / attempts)
        candidate = SceneObject(
            category=category,
            x=0.0,
            y=0.0,
            length=length,
            width=length * ratio,
            angle=rng.uniform(0, math.pi),
            style=int(rng.integers(2**31)),
        )
        reach = candidate.radius if ratio < 1 else length / 2
        x, y = rng.uniform(reach + 0.01, 1 - reach - 0.01, size=2)
        candidate = replace(candidate, x=float(x), y=float(y))
        if all(_are_apart(candidate, other) for other in others):
            return candidate
    return None


def _are_apart(a: SceneObject, b: SceneObject) -> bool:
    return math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + GAP
