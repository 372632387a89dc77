"""Which words of an expression name the object, and which its place (FIANet's decomposition).

FIANet tags parts of speech with NLTK, whose data must be downloaded, and counts words where the
network counts word pieces. Here closed word lists find the words, and character positions map them
to word pieces, so that no download is needed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .plain_tokenizer import NO_CHARACTERS, PlainTokenizer

if TYPE_CHECKING:
    from torch import Tensor

PREPOSITIONS = (
    "on|in|at|to|near|by|beside|above|below|under|over|behind|between|among|along|around|inside|"
    "outside|within|from|next to|close to|adjacent to|in front of"
)
DETERMINERS = "the|a|an|this|that|its|their"
# Words for a place, after a preposition.
PLACES = (
    "left|right|top|bottom|upper|lower|middle|center|centre|central|corner|side|edge|end|half|part|"
    "row|column|north|south|east|west|northern|southern|eastern|western|northeast|northwest|southeast|"
    "southwest"
)
# Words between the determiner and the place: "in the far upper left corner".
MOST_MODIFIERS = 3

Span = tuple[int, int]  # characters: first, one past the last


def find_object_spans(expression: str, names: Iterable[str]) -> list[Span]:
    """Find names of categories as whole words, the longest first, with or without a plural s."""
    return [match.span() for match in _object_pattern(tuple(names)).finditer(expression)]


def find_position_spans(expression: str, names: Iterable[str]) -> list[Span]:
    """Find prepositional phrases that end in a word for a place or in another object's name."""
    return [match.span() for match in _position_pattern(tuple(names)).finditer(expression)]


@functools.cache  # there are only a few sets of names
def _object_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    ordered = sorted(names, key=len, reverse=True)
    pattern = rf"\b(?:{'|'.join(map(re.escape, ordered))})(?:e?s)?\b"
    return re.compile(pattern, re.IGNORECASE)


@functools.cache
def _position_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    ends = "|".join([PLACES, *(re.escape(name) + "(?:e?s)?" for name in names)])
    pattern = (
        rf"\b(?:{PREPOSITIONS})\s+(?:(?:{DETERMINERS})\s+)?"
        rf"(?:[\w-]+\s+){{0,{MOST_MODIFIERS}}}?(?:{ends})\b(?:\s+(?:{PLACES})\b)*"
    )
    return re.compile(pattern, re.IGNORECASE)


class ExpressionRoleParser:
    """Expression -> (T,) bool masks over its tokens: the object's words, the place's words."""

    def __init__(
        self, *, tokenizer: PlainTokenizer, names: Iterable[str], adds_special_tokens: bool
    ):
        """
        Args:
            tokenizer: the network's.
            names: of categories.
            adds_special_tokens: whether special tokens ([CLS], [SEP]) belong to both roles.
        """
        self.tokenizer = tokenizer
        self.names = tuple(names)
        self.adds_special_tokens = adds_special_tokens

    def __call__(self, expression: str) -> tuple[Tensor, Tensor]:
        """``mark_roles`` as tensors."""
        import torch

        is_object, is_position = map(torch.from_numpy, self.mark_roles(expression))
        return is_object, is_position

    def mark_roles(self, expression: str) -> tuple[np.ndarray, np.ndarray]:
        """
        Returns:
            is_object (T,) bool, all False if no category is named; is_position (T,) bool, all True
            if no place is named (the whole expression is used then, as in FIANet).
        """
        spans = self.tokenizer.token_spans(expression)
        is_object = _mark_tokens(spans, find_object_spans(expression, self.names))
        is_position = _mark_tokens(spans, find_position_spans(expression, self.names))
        if not is_position.any():
            is_position = np.ones_like(is_position)
        if self.adds_special_tokens:
            is_special = np.array([span == NO_CHARACTERS for span in spans])
            is_object, is_position = is_object | is_special, is_position | is_special
        return is_object, is_position


def _mark_tokens(tokens: list[Span], phrases: list[Span]) -> np.ndarray:
    """(T,) bool: tokens that cover characters of a phrase."""
    return np.array(
        [any(start < last and end > first for first, last in phrases) for start, end in tokens]
    )
