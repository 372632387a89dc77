"""Flips and quarter turns of an image together with the expression about it.

"The pool on the left" is on the right after a horizontal flip. Words for directions therefore
change with the image; an expression for which that is not safe is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# "left of the pool" is a relation, "in the left of the image" is not.
BARE_RELATIONS, NOT_AFTER_ARTICLE = ("left of", "right of"), "(?<!the )"
# Directions in the image, clockwise.
UP, RIGHT, DOWN, LEFT = range(4)

# Words that stand for one direction, in the order up, right, down, left. A word is replaced by its
# neighbour in its own row, so that "upper" becomes "left" but "topmost" becomes "leftmost".
PLAIN = ("top", "right", "bottom", "left")
FORMS: tuple[tuple[str, str, str, str], ...] = (
    PLAIN,
    ("upper", "right", "lower", "left"),
    ("topmost", "rightmost", "bottommost", "leftmost"),
    ("uppermost", "rightmost", "lowermost", "leftmost"),
    ("above", "to the right of", "below", "to the left of"),
    ("north", "east", "south", "west"),
    ("northern", "eastern", "southern", "western"),
    ("northernmost", "easternmost", "southernmost", "westernmost"),
)
# Corners: the words for up and down come first, then those for the sides.
SIDES, COMPASS_SIDES = {RIGHT: "right", LEFT: "left"}, {RIGHT: "east", LEFT: "west"}
CORNERS = (
    ("upper", "lower", SIDES),
    ("top", "bottom", SIDES),
    ("north", "south", COMPASS_SIDES),
)
# The same along one axis: swapped by a quarter turn, untouched by a flip.
AXES = (
    *(("horizontal", "vertical"), ("horizontally", "vertically")),
    *(("row", "column"), ("rows", "columns")),
)
# These words mean a direction that the rows above do not cover, or no direction at all.
UNSAFE = re.compile(
    r"\b(?:up|down|upward|upwards|downward|downwards|under|over|beneath|underneath|clockwise|"
    r"counterclockwise|anticlockwise|o'clock|upright|sideways|diagonal|diagonally|"
    r"(?:left|right)[- ](?:hand|angle|angled)|right (?:next|beside|at|behind|after|before|in|by)|"
    r"(?:is|are|was|be|been) left|left (?:over|by|behind|out)|turns? (?:left|right)|"
    r"left and right|left or right|top of|on top)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Orientation:
    """A mirror image, then quarter turns counter-clockwise: the eight symmetries of a square."""

    mirrored: bool = False  # left and right change places
    quarter_turns: int = 0  # counter-clockwise, 0 to 3

    def turn(self, pixels: np.ndarray) -> np.ndarray:
        """Turn an image or mask (H, W, ...) into this orientation; returns a copy."""
        turned = np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.quarter_turns)
        return np.ascontiguousarray(turned)

    def _turn_direction(self, direction: int) -> int:
        """Where UP, RIGHT, DOWN or LEFT points in the new image."""
        if self.mirrored and direction in (LEFT, RIGHT):
            direction = (direction + 2) % 4
        return (direction - self.quarter_turns) % 4

    def reword(self, expression: str) -> str | None:
        """Reword an expression for the new image; None if that would not be safe.

        Words for directions become lower case; everything else stays as it was.
        """
        if self == Orientation():
            return expression
        if UNSAFE.search(expression):
            return None
        return self.pattern.sub(
            lambda match: self.words[_normalize_phrase(match.group())], expression
        )

    @cached_property
    def words(self) -> dict[str, str]:
        """Every phrase for a direction, and its replacement."""
        table: dict[str, str] = {}
        for first, second in AXES:
            changed = (second, first) if self.quarter_turns % 2 else (first, second)
            table |= dict(zip((first, second), changed, strict=True))
        for form in FORMS:
            for direction, word in enumerate(form):
                # "right" belongs to several rows; the plain one, which is first, stands for it.
                table.setdefault(word, form[self._turn_direction(direction)])
        for high, low, sides in CORNERS:
            for vertical, word in ((UP, high), (DOWN, low)):
                for horizontal, side in sides.items():
                    moved = {self._turn_direction(vertical), self._turn_direction(horizontal)}
                    new_word = high if UP in moved else low
                    new_side = next(name for where, name in sides.items() if where in moved)
                    table |= _corner_words((word, side), (new_word, new_side))
        return table | {phrase: table[f"to the {phrase}"] for phrase in BARE_RELATIONS}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the phrases, the longest first; a hyphen may stand for a space."""
        ordered = sorted(self.words, key=len, reverse=True)
        phrases = "|".join(
            (NOT_AFTER_ARTICLE if phrase in ("left of", "right of") else "")
            + phrase.replace(" ", "[ -]")
            for phrase in ordered
        )
        return re.compile(rf"\b(?:{phrases})\b", re.IGNORECASE)


def _corner_words(old: tuple[str, str], new: tuple[str, str]) -> dict[str, str]:
    """Ways to write a corner, and the same way to write another."""
    spaced = {" ".join(old): " ".join(new)}
    if old[1] not in COMPASS_SIDES.values():
        return spaced
    joined = {"".join(old): "".join(new), "".join(old) + "ern": "".join(new) + "ern"}
    return spaced | joined


def _normalize_phrase(phrase: str) -> str:
    return phrase.lower().replace("-", " ")


ORIENTATIONS = {
    "horizontal_flip": (Orientation(mirrored=True),),
    "vertical_flip": (Orientation(mirrored=True, quarter_turns=2),),
    "quarter_turns": tuple(Orientation(quarter_turns=turns) for turns in (1, 2, 3)),
}


def list_orientations(names: tuple[str, ...]) -> tuple[Orientation, ...]:
    """Every orientation that the named changes lead to; the unchanged image comes first.

    Args:
        names: of ``ORIENTATIONS``.

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in names if name not in ORIENTATIONS]
    if unknown:
        raise ValueError(
            f"INPUT.ORIENTATIONS has {', '.join(map(repr, unknown))}; known: "
            f"{', '.join(ORIENTATIONS)}"
        )
    found = {Orientation()}
    while True:
        steps = [step for name in names for step in ORIENTATIONS[name]]
        more = found | {_compose(first, step) for first in found for step in steps}
        if more == found:
            return tuple(sorted(found, key=lambda o: (o.mirrored, o.quarter_turns)))
        found = more


def _compose(first: Orientation, second: Orientation) -> Orientation:
    """``first``, then ``second``."""
    turns = -first.quarter_turns if second.mirrored else first.quarter_turns
    return Orientation(
        mirrored=first.mirrored != second.mirrored,
        quarter_turns=(turns + second.quarter_turns) % 4,
    )
