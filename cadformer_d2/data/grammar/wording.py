"""Templates and words: those of synthrs, and more varied ones for images of any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Words = tuple[str, ...]
PLAIN_HALVES = {
    "left": "on the left",
    "right": "on the right",
    "upper": "at the top",
    "lower": "at the bottom",
}
EDGES = {"left": "left", "right": "right", "upper": "top", "lower": "bottom"}


@dataclass(frozen=True)
class Wording:
    """Templates with placeholders ({object}, {place}, {half}, {number}, ...) and words.

    Sides are left, right, upper and lower.
    """

    categories: Words  # that may occur in a scene
    category: Words
    region: Words
    places: Mapping[str, Words]  # of the 3 x 3 grid, by their plain name
    outermost: Mapping[str, tuple[Words, Words]]  # before the noun, and behind it
    half: Mapping[str, Words]
    side: Mapping[str, Words]
    nearest: Words
    farthest: Words
    long_openings: Words
    inventory: Words
    # Whether a long expression may repeat itself, as synthrs's do.
    repeats_itself: bool = False
    # Only in wider grammars. {at} is one of the place's prepositions.
    prepositions: Mapping[str, Words] = field(default_factory=dict)
    largest: Words = ("largest", "biggest")
    smallest: Words = ("smallest", "tiniest")
    larger_of_two: Words = ("larger", "bigger")
    smaller_of_two: Words = ("smaller",)
    first_among: Words = ("the {rank} {object} {half}", "the {rank} one of the {objects} {half}")
    numbered: Words = ("the {number} {object} from the {side}",)
    edges: Mapping[str, str] = field(default_factory=lambda: dict(EDGES))
    # Of several objects, {objects}, or of all that fit, however many.
    all_of: Words = ("all {objects}", "all the {objects}", "every {object}", "each {object}")
    plurals: Words = ("the {objects}",)
    numbered_plurals: Words = ("the {count} {objects}",)
    both: Words = ("both {objects}",)
    plain_halves: Mapping[str, str] = field(default_factory=lambda: dict(PLAIN_HALVES))
    long_plural_openings: Words = (
        "in this aerial image , {phrase} , found {clauses}",
        "{phrase} that can be seen from above {clauses}",
        "{phrase} , located {clauses}",
    )
    # Other names of a category, and how often they are used.
    synonyms: Mapping[str, Words] = field(default_factory=dict)
    synonym_share: float = 0.0


PLAIN_PLACES = (
    *("left", "right", "top", "bottom", "center"),
    *("upper left", "upper right", "lower left", "lower right"),
)

_SIDE_WORDS = {
    "left": ("to the left of", "on the left side of", "left of"),
    "right": ("to the right of", "on the right side of", "right of"),
    "upper": ("above", "on the upper side of"),
    "lower": ("below", "on the lower side of"),
}
_LONG_OPENINGS = (
    "{phrase} , which lies {clauses}",
    "{phrase} , and it is situated {clauses}",
    "in this aerial image , {phrase} , found {clauses}",
    "{phrase} that can be seen from above {clauses}",
    "{phrase} , located {clauses}",
)


def synthrs_wording(categories: Sequence[str]) -> Wording:
    """The words of synthrs; any change changes the bytes of the dataset."""
    return Wording(
        categories=tuple(categories),
        category=(
            "the {object}",
            "a {object}",
            "the {object} in the image",
            "the only {object} in the scene",
            "a {object} in the picture",
        ),
        region=(
            "the {object} on the {place}",
            "the {object} in the {place} part of the image",
            "the {place} {object}",
            "a {object} located on the {place}",
        ),
        places={place: (place,) for place in PLAIN_PLACES},
        outermost={
            "left": (("leftmost",), ("farthest to the left",)),
            "right": (("rightmost",), ("farthest to the right",)),
            "upper": (("topmost",), ("farthest to the top",)),
            "lower": (("bottommost",), ("farthest to the bottom",)),
        },
        half={
            "left": ("in the left side", "in the left half"),
            "right": ("in the right side", "in the right half"),
            "upper": ("in the upper half", "in the top half"),
            "lower": ("in the lower half", "in the bottom half"),
        },
        side=_SIDE_WORDS,
        nearest=("closest to", "next to", "nearest to"),
        farthest=("farthest from", "far away from", "most distant from"),
        long_openings=_LONG_OPENINGS,
        inventory=("in a scene with {things}",),
        repeats_itself=True,
    )


def wide_wording(categories: Sequence[str]) -> Wording:
    """More varied words, as people write them about aerial images of any source."""
    taken = set(categories)
    return Wording(
        categories=tuple(categories),
        category=(
            "the {object}",
            "the {object}",
            "a {object}",
            "{object}",
            "the {object} in the image",
            "the only {object}",
            "the only {object} in the image",
            "a {object} in the aerial image",
        ),
        region=(
            "the {object} {at} the {place}",
            "the {object} {at} the {place} of the image",
            "the {object} in the {place} part of the image",
            "the {place} {object}",
            "the {object} located {at} the {place}",
            "a {object} {at} the {place} of the image",
            "{object} {at} the {place}",
        ),
        places={
            "left": ("left", "middle left"),
            "right": ("right", "middle right"),
            "top": ("top", "top center", "upper middle"),
            "bottom": ("bottom", "bottom center", "lower middle"),
            "center": ("center", "middle"),
            "upper left": ("upper left", "top left", "top left corner", "upper left corner"),
            "upper right": ("upper right", "top right", "top right corner", "upper right corner"),
            "lower left": ("lower left", "bottom left", "bottom left corner", "lower left corner"),
            "lower right": (
                *("lower right", "bottom right", "bottom right corner", "lower right corner"),
            ),
        },
        prepositions={
            **{side: ("on", "at") for side in ("left", "right")},
            **{edge: ("at",) for edge in ("top", "bottom")},
            "center": ("in", "at"),
            **{
                f"{row} {column}": ("on", "in", "at")
                for row in ("upper", "lower")
                for column in ("left", "right")
            },
        },
        outermost={
            "left": (
                ("leftmost", "far left"),
                ("farthest to the left", "furthest to the left", "closest to the left edge"),
            ),
            "right": (
                ("rightmost", "far right"),
                ("farthest to the right", "furthest to the right", "closest to the right edge"),
            ),
            "upper": (
                ("topmost", "uppermost"),
                ("farthest to the top", "nearest to the top", "closest to the top edge"),
            ),
            "lower": (
                ("bottommost", "lowermost"),
                ("farthest to the bottom", "nearest to the bottom", "closest to the bottom edge"),
            ),
        },
        half={
            "left": ("in the left half", "on the left side", "in the left part"),
            "right": ("in the right half", "on the right side", "in the right part"),
            "upper": ("in the upper half", "in the top half", "in the upper part"),
            "lower": ("in the lower half", "in the bottom half", "in the lower part"),
        },
        side=_SIDE_WORDS,
        nearest=("closest to", "nearest to", "next to", "near"),
        farthest=("farthest from", "furthest from", "most distant from"),
        long_openings=(*_LONG_OPENINGS, "{phrase} {clauses}", "{phrase} , {clauses}"),
        inventory=("in an image with {things}", "in a scene with {things}"),
        numbered=("the {number} {object} from the {side}", "{number} {object} from the {side}"),
        # A synonym that is itself a category would mean the wrong object.
        synonyms={
            name: tuple(other for other in others if other not in taken)
            for name, others in SYNONYMS.items()
        },
        synonym_share=0.3,
    )


# Other names people use, by the name in annotation files (spaces for underscores).
SYNONYMS: dict[str, Words] = {
    "airplane": ("plane", "aircraft"),
    "plane": ("airplane", "aircraft"),
    "ship": ("boat", "vessel"),
    "storage tank": ("oil tank", "tank"),
    "baseball diamond": ("baseball field", "baseball court"),
    "baseball field": ("baseball diamond",),
    "ground track field": ("running track", "track field", "athletics track"),
    "harbor": ("dock", "pier"),
    "harbour": ("harbor", "dock", "pier"),
    "roundabout": ("traffic circle",),
    "swimming pool": ("pool",),
    "soccer ball field": ("soccer field", "football field"),
    "small vehicle": ("car",),
    "helicopter": ("chopper",),
    "windmill": ("wind turbine",),
    "expressway toll station": ("toll station",),
    "expressway service area": ("service area",),
    "golf field": ("golf course",),
    "chimney": ("smokestack",),
    "building": ("house",),
}


def name_of(category: str, wording: Wording, rng: np.random.Generator) -> str:
    """The category's name, or sometimes a synonym."""
    others = wording.synonyms.get(category, ())
    if others and rng.random() < wording.synonym_share:
        return pick(others, rng)
    return category


def pick(choices: Words, rng: np.random.Generator) -> str:
    """Pick one of several; a single choice draws no random number."""
    return choices[0] if len(choices) == 1 else str(rng.choice(choices))


def plural(name: str) -> str:
    """ "ship" -> "ships", "bus" -> "buses", "aircraft" stays."""
    if name.endswith("craft"):
        return name
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")
