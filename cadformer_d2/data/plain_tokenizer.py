"""Expressions as ids of tokens: plain numbers, without PyTorch."""

from __future__ import annotations

import json

from pydantic import TypeAdapter
from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from .validation import Text, quote, validate

BLANK = "\u2581"  # a token of SentencePiece's for the space in front of a word
NO_CHARACTERS = (0, 0)  # what a special token stands for

_TEXT = TypeAdapter(Text)


class PlainTokenizer:
    """Expression -> at most ``max_tokens`` tokens, special ones included."""

    def __init__(self, *, backend: Tokenizer, max_tokens: int):
        """
        Args:
            backend: changed in place: it truncates and does not pad.
            max_tokens: special tokens included; longer expressions are truncated, but keep their
                closing special token.

        Raises:
            ValueError: ``max_tokens`` leaves no room for a word.
        """
        self.max_tokens = max_tokens
        self.backend = backend
        num_special = backend.num_special_tokens_to_add(False)
        self.max_word_pieces = max_tokens - num_special  # of an expression
        if self.max_word_pieces < 1:
            raise ValueError(
                f"INPUT.MAX_TOKENS is {max_tokens}; a word and the special tokens need "
                f"{num_special + 1}"
            )
        backend.no_padding()
        backend.enable_truncation(max_tokens)
        self.vocabulary_size = 1 + max(backend.get_vocab().values())
        self.unknown_id = _find_unknown_id(backend)

    def token_ids(self, expression: str) -> list[int]:
        """Ids of the tokens, at most ``max_tokens``, without padding.

        Raises:
            ValueError: the expression is not a text, or has no token of its own.
        """
        encoding = self._encode(expression)
        if not self._own_ids(expression, encoding):
            raise ValueError(f"the expression {quote(expression)} is empty; it must name a target")
        return encoding.ids

    def token_spans(self, expression: str) -> list[tuple[int, int]]:
        """Characters (start, end) that each token of ``token_ids(expression)`` covers.

        ``NO_CHARACTERS`` for special tokens.
        """
        encoding = self._encode(expression)
        return [
            NO_CHARACTERS if is_special else span
            for span, is_special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ]

    def is_truncated(self, expression: str) -> bool:
        """Whether the expression is truncated."""
        return bool(self._encode(expression).overflowing)

    def is_unknown(self, expression: str) -> bool:
        """Whether the vocabulary has no word of the expression.

        Always False for a byte-level tokenizer, which can spell every word.
        """
        pieces = set(self.word_pieces(expression))
        return pieces - {self.backend.token_to_id(BLANK)} == {self.unknown_id}

    def word_pieces(self, expression: str) -> list[int]:
        """Ids of the expression's own tokens after truncation; empty for an empty expression.

        Raises:
            ValueError: the expression is not a text.
        """
        return self._own_ids(expression, self._encode(expression))

    def to_json(self) -> str:
        """The whole tokenizer as the text of a tokenizer.json."""
        return self.backend.to_str()

    def _encode(self, expression: str) -> Encoding:
        try:
            validate(_TEXT, expression)
        except ValueError as error:
            raise ValueError(f"the expression {error}") from error
        return self.backend.encode(expression)

    def _own_ids(self, expression: str, encoding: Encoding) -> list[int]:
        # Byte-level tokenizers have tokens for blanks and control characters too.
        if not any(letter.isprintable() and not letter.isspace() for letter in expression):
            return []
        marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return [token for token, is_special in marked if not is_special]


def _find_unknown_id(tokenizer: Tokenizer) -> int | None:
    """Id of the unknown token; None if the vocabulary can spell everything."""
    if isinstance(tokenizer.model, Unigram):  # only its file has the id
        return json.loads(tokenizer.to_str())["model"]["unk_id"]
    token = getattr(tokenizer.model, "unk_token", None)
    return None if token is None else tokenizer.token_to_id(token)
