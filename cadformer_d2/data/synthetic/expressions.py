"""The expressions of synthrs and their vocabulary."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

from ..class_names import RRSISHR_CLASSES
from ..grammar.constraints import HORIZONTAL, VERTICAL
from ..grammar.descriptions import (
    Candidate,
    Description,
    propose_places,
    propose_relations,
    unique_descriptions,
)
from ..grammar.phrasing import NUMBER_WORDS
from ..grammar.wording import synthrs_wording
from ..refer_writer import words_of
from .scene import DrawnScene, SceneObject

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PLACEHOLDER = re.compile(r"\{\w+\}")
WORDING = synthrs_wording(RRSISHR_CLASSES)
MOST_ALIKE = 3  # objects of one category in a scene
PROPOSERS = (propose_places, propose_relations)


def choose_descriptions(
    scene: DrawnScene, target: SceneObject, rng: np.random.Generator, most: int = 3
) -> list[Description]:
    """Choose up to ``most`` descriptions at random, relations before positions."""
    return choose_kinds(unique_descriptions(scene, target, PROPOSERS), rng, most)


def choose_kinds(
    candidates: Sequence[Candidate], rng: np.random.Generator, most: int
) -> list[Candidate]:
    """Choose up to ``most`` descriptions or statements at random, relations before positions."""
    order = rng.permutation(len(candidates))
    by_kind: dict[str, list[Candidate]] = {"category": [], "position": [], "relation": []}
    for index in order:
        by_kind[candidates[index].kind].append(candidates[index])
    # Relations are the rarest: most targets have positions, not all have landmarks.
    return (by_kind["category"] + by_kind["relation"][:2] + by_kind["position"])[:most]


def build_vocabulary(*, any_targets: bool = False) -> list[str]:
    """Build a WordPiece vocabulary: special tokens, synthrs's words, letters to spell any other.

    Args:
        any_targets: append the words that only refs to several targets or none need.
    """
    texts = [*WORDING.category, *WORDING.region, *WORDING.long_openings, *HORIZONTAL, *VERTICAL]
    texts += [*WORDING.nearest, *WORDING.farthest, *RRSISHR_CLASSES]
    texts += [NUMBER_WORDS[number] for number in range(2, MOST_ALIKE + 1)]
    texts += [phrase for parts in WORDING.outermost.values() for part in parts for phrase in part]
    for table in (WORDING.half, WORDING.side):
        texts += [phrase for phrases in table.values() for phrase in phrases]
    texts += [f"{category.split()[-1]}s" for category in RRSISHR_CLASSES]
    texts += ["top bottom in a scene with the of image and"]
    words = sorted({word for text in texts for word in words_of(_PLACEHOLDER.sub(" ", text))})
    characters = string.ascii_lowercase + string.digits
    pieces = [*words, *characters, *(f"##{c}" for c in characters), *string.punctuation]
    if any_targets:
        phrases = [*WORDING.all_of, *WORDING.both, *WORDING.plain_halves.values()]
        text = _PLACEHOLDER.sub(" ", " ".join(phrases))
        pieces += sorted(set(words_of(text)))
    return [*SPECIAL_TOKENS, *dict.fromkeys(pieces)]
