"""Words for descriptions: the grammar of synthrs, and the vocabulary it needs."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

from ..class_names import RRSISHR_CLASSES
from ..refer_writer import words_of
from .expressions import (
    HORIZONTAL,
    VERTICAL,
    Constraint,
    Description,
    FarthestFrom,
    InHalf,
    InRegion,
    NearestTo,
    Outermost,
    SideOf,
    true_clauses,
)
from .scene import Scene, SceneObject

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_SENTENCE = 41  # words, as in RRSIS-HR

# Several ways to say each thing; {object}, {place}, {landmark} are filled in.
CATEGORY_TEMPLATES = (
    "the {object}",
    "a {object}",
    "the {object} in the image",
    "the only {object} in the scene",
    "a {object} in the picture",
)
REGION_TEMPLATES = (
    "the {object} on the {place}",
    "the {object} in the {place} part of the image",
    "the {place} {object}",
    "a {object} located on the {place}",
)
OUTERMOST_WORDS = {
    "left": ("leftmost", "farthest to the left"),
    "right": ("rightmost", "farthest to the right"),
    "upper": ("topmost", "farthest to the top"),
    "lower": ("bottommost", "farthest to the bottom"),
}
HALF_WORDS = {
    "left": ("left side", "left half"),
    "right": ("right side", "right half"),
    "upper": ("upper half", "top half"),
    "lower": ("lower half", "bottom half"),
}
SIDE_WORDS = {
    "left": ("to the left of", "on the left side of", "left of"),
    "right": ("to the right of", "on the right side of", "right of"),
    "upper": ("above", "on the upper side of"),
    "lower": ("below", "on the lower side of"),
}
NEAREST_WORDS = ("closest to", "next to", "nearest to")
FARTHEST_WORDS = ("farthest from", "far away from", "most distant from")
LONG_OPENINGS = (
    "{phrase} , which lies {clauses}",
    "{phrase} , and it is situated {clauses}",
    "in this aerial image , {phrase} , found {clauses}",
    "{phrase} that can be seen from above {clauses}",
    "{phrase} , located {clauses}",
)
NUMBER_WORDS = {2: "two", 3: "three"}


def write_sentence(
    scene: Scene,
    target: SceneObject,
    description: Description,
    *,
    long: bool,
    rng: np.random.Generator,
) -> str:
    """A sentence for a description that singles out ``target``.

    Args:
        long: add true clauses about landmarks and places, up to 41 words in all.
    """
    phrase = short_phrase(description, rng)
    if not long:
        return phrase
    clauses = [clause_phrase(clause, rng) for clause in shuffled(true_clauses(scene, target), rng)]
    clauses += [f"in a scene with {inventory(scene, rng)}"]
    chosen = clauses[: int(rng.integers(1, 4))]
    opening = str(rng.choice(LONG_OPENINGS))
    sentence = opening.format(phrase=phrase, clauses=joined(chosen))
    while len(words_of(sentence)) > LONGEST_SENTENCE:
        chosen.pop()
        sentence = opening.format(phrase=phrase, clauses=joined(chosen))
    return sentence


def short_phrase(description: Description, rng: np.random.Generator) -> str:
    """The shortest usual way to say a description."""
    name = description.category
    if not description.constraints:
        return str(rng.choice(CATEGORY_TEMPLATES)).format(object=name)
    (constraint,) = description.constraints
    if isinstance(constraint, InRegion):
        template = str(rng.choice(REGION_TEMPLATES))
        return template.format(object=name, place=region_words(constraint))
    if isinstance(constraint, Outermost):
        adjective, predicate = OUTERMOST_WORDS[constraint.side]
        return f"the {adjective} {name}" if rng.random() < 0.6 else f"the {name} {predicate}"
    return f"the {name} {clause_phrase(constraint, rng)}"


def clause_phrase(constraint: Constraint, rng: np.random.Generator) -> str:
    """What comes behind "the storage tank": a place or a relation to a landmark."""
    if isinstance(constraint, InHalf):
        return f"in the {rng.choice(HALF_WORDS[constraint.side])} of the image"
    if isinstance(constraint, SideOf):
        words = rng.choice(SIDE_WORDS[constraint.side])
    elif isinstance(constraint, NearestTo):
        words = rng.choice(NEAREST_WORDS)
    elif isinstance(constraint, FarthestFrom):
        words = rng.choice(FARTHEST_WORDS)
    else:
        raise TypeError(f"no clause is known for {constraint!r}")
    return f"{words} the {constraint.landmark.category}"


def region_words(region: InRegion) -> str:
    """ "upper left", "left", "center", ... of a cell of the 3 x 3 grid."""
    column, row = HORIZONTAL[region.column], VERTICAL[region.row]
    if (column, row) == ("center", "middle"):
        return "center"
    if column == "center":
        return {"upper": "top", "lower": "bottom"}[row]
    return column if row == "middle" else f"{row} {column}"


def inventory(scene: Scene, rng: np.random.Generator) -> str:
    """What else there is: "two tennis courts and a roundabout"."""
    parts = []
    for category in shuffled(RRSISHR_CLASSES, rng):
        count = len(scene.of_category(category))
        if count == 1:
            parts.append(f"a {category}")
        elif count > 1:
            parts.append(f"{NUMBER_WORDS[count]} {category}s")
    return joined(parts[:3])


def joined(parts: list[str]) -> str:
    """ "a", "a and b", "a , b and c"."""
    return " and ".join([" , ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def shuffled(items: Sequence, rng: np.random.Generator) -> list:
    return [items[index] for index in rng.permutation(len(items))]


def vocabulary() -> list[str]:
    """WordPiece vocabulary: special tokens, every word above, letters to spell any other word."""
    texts = [*CATEGORY_TEMPLATES, *REGION_TEMPLATES, *LONG_OPENINGS, *HORIZONTAL, *VERTICAL]
    texts += [*NEAREST_WORDS, *FARTHEST_WORDS, *NUMBER_WORDS.values(), *RRSISHR_CLASSES]
    for table in (OUTERMOST_WORDS, HALF_WORDS, SIDE_WORDS):
        texts += [phrase for phrases in table.values() for phrase in phrases]
    texts += [f"{category.split()[-1]}s" for category in RRSISHR_CLASSES]
    texts += ["top bottom in a scene with the of image and"]
    words = sorted({word for text in texts for word in words_of(re.sub(r"\{\w+\}", " ", text))})
    characters = string.ascii_lowercase + string.digits
    pieces = [*words, *characters, *(f"##{c}" for c in characters), *string.punctuation]
    return [*SPECIAL_TOKENS, *dict.fromkeys(pieces)]
