"""The expressions of synthrs and their vocabulary."""

from __future__ import annotations

import re
import string

import numpy as np

from ..class_names import RRSISHR_CLASSES
from ..grammar.constraints import HORIZONTAL, VERTICAL
from ..grammar.descriptions import (
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
WORDING = synthrs_wording(RRSISHR_CLASSES)
MOST_ALIKE = 3  # objects of one category in a scene


def choose_descriptions(
    scene: DrawnScene, target: SceneObject, rng: np.random.Generator, most: int = 3
) -> list[Description]:
    """Choose up to ``most`` descriptions at random, relations before positions."""
    candidates = unique_descriptions(scene, target, (propose_places, propose_relations))
    order = rng.permutation(len(candidates))
    by_kind: dict[str, list[Description]] = {"category": [], "position": [], "relation": []}
    for index in order:
        by_kind[candidates[index].kind].append(candidates[index])
    # Relations are the rarest: most targets have positions, not all have landmarks.
    return (by_kind["category"] + by_kind["relation"][:2] + by_kind["position"])[:most]


def build_vocabulary() -> list[str]:
    """Build a WordPiece vocabulary: special tokens, synthrs's words, letters to spell any other."""
    texts = [*WORDING.category, *WORDING.region, *WORDING.long_openings, *HORIZONTAL, *VERTICAL]
    texts += [*WORDING.nearest, *WORDING.farthest, *RRSISHR_CLASSES]
    texts += [NUMBER_WORDS[number] for number in range(2, MOST_ALIKE + 1)]
    texts += [phrase for parts in WORDING.outermost.values() for part in parts for phrase in part]
    for table in (WORDING.half, WORDING.side):
        texts += [phrase for phrases in table.values() for phrase in phrases]
    texts += [f"{category.split()[-1]}s" for category in RRSISHR_CLASSES]
    texts += ["top bottom in a scene with the of image and"]
    words = sorted({word for text in texts for word in words_of(re.sub(r"\{\w+\}", " ", text))})
    characters = string.ascii_lowercase + string.digits
    pieces = [*words, *characters, *(f"##{c}" for c in characters), *string.punctuation]
    return [*SPECIAL_TOKENS, *dict.fromkeys(pieces)]
