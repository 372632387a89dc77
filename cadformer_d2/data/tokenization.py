"""BERT's WordPiece tokenizer, with the vocabulary named by the config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import StrictBool, TypeAdapter
from torch import Tensor
from transformers import BertTokenizerFast  # type: ignore[attr-defined]
from transformers.utils import cached_file
from typing_extensions import TypedDict

from .plain_files import read_json, read_text
from .validation import Text, checked, shown

# Vocabularies that come with the package, by the name INPUT.TOKENIZER gives them.
PACKAGED_FOLDER = Path(__file__).parent / "vocabularies"
NEEDED_TOKENS = ("[UNK]", "[CLS]", "[SEP]")
# How a vocabulary wants its words, beside it.
SETTINGS_FILE = "tokenizer_config.json"


class _Settings(TypedDict, total=False):
    do_lower_case: StrictBool | None
    strip_accents: StrictBool | None
    tokenize_chinese_chars: StrictBool | None


_SETTINGS, _TEXT = TypeAdapter(_Settings), TypeAdapter(Text)


class ExpressionTokenizer:
    """Expression -> word pieces between [CLS] and [SEP], at most ``max_tokens`` of them."""

    def __init__(self, *, vocabulary: str, max_tokens: int):
        """
        Args:
            vocabulary: a Hugging Face name, a folder holding vocab.txt, a vocab.txt file, or the
                name of a packaged vocabulary ("synthrs").
            max_tokens: [CLS] and [SEP] included; longer expressions lose their end, [SEP] stays.

        Raises:
            FileNotFoundError: the vocabulary is not on this machine.
            ValueError: ``max_tokens`` leaves no room for a word, or the file is no vocabulary.
        """
        if max_tokens < 3:
            raise ValueError(f"INPUT.MAX_TOKENS is {max_tokens}; [CLS], a word and [SEP] need 3")
        self.max_tokens = max_tokens
        self.tokenizer = load_tokenizer(vocabulary)
        self.cls_id = self.tokenizer.cls_token_id
        self.sep_id = self.tokenizer.sep_token_id

    @property
    def vocabulary_size(self) -> int:
        return len(self.tokenizer)

    def __call__(self, expression: str) -> Tensor:
        """Token ids (T,) int64, T <= max_tokens, without padding.

        Raises:
            ValueError: the expression has no word piece.
        """
        pieces = self.word_pieces(expression)
        if not pieces:
            raise ValueError(
                f"the expression {shown(expression)} is empty; nothing can be looked for"
            )
        return torch.tensor([self.cls_id, *pieces[: self.max_tokens - 2], self.sep_id])

    def token_spans(self, expression: str) -> list[tuple[int, int]]:
        """Characters (start, end) each token of ``self(expression)`` stands for.

        [CLS] and [SEP] stand for none: (0, 0).
        """
        encoded = self.tokenizer(
            expression, add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )
        return [(0, 0), *encoded["offset_mapping"][: self.max_tokens - 2], (0, 0)]

    def is_truncated(self, expression: str) -> bool:
        """Whether the expression loses its end."""
        return len(self.word_pieces(expression)) > self.max_tokens - 2

    def is_unknown(self, expression: str) -> bool:
        """Whether the vocabulary has no word of the expression: every piece is [UNK]."""
        return set(self.word_pieces(expression)) == {self.tokenizer.unk_token_id}

    def word_pieces(self, expression: str) -> list[int]:
        """
        Raises:
            ValueError: the expression is no text.
        """
        try:
            checked(_TEXT, expression)
        except ValueError as error:
            raise ValueError(f"the expression {error}") from error
        # The length warning of the library speaks of its own limit, not of ours.
        return self.tokenizer(expression, add_special_tokens=False, verbose=False)["input_ids"]


def load_tokenizer(vocabulary: str) -> BertTokenizerFast:
    """Read a vocabulary from the package, a file, a folder or the local Hugging Face cache.

    Words are lower-cased and lose their accents where the settings beside the vocabulary say so;
    without settings, where the vocabulary has no capital letter.
    """
    path = vocabulary_file(vocabulary)
    pieces = read_vocabulary(path)
    words = [piece for piece in pieces if not piece.startswith("[")]  # "[MASK]" is none
    has_capitals = any(word != word.lower() for word in words)
    settings = {"do_lower_case": not has_capitals, **read_settings(path.with_name(SETTINGS_FILE))}
    # By position: the keyword is `vocab` in transformers 5 and was `vocab_file` before.
    return BertTokenizerFast(pieces, **settings)


def vocabulary_file(vocabulary: str) -> Path:
    """
    Raises:
        FileNotFoundError: neither packaged, nor a file or folder, nor in the cache.
    """
    packaged = PACKAGED_FOLDER / f"{vocabulary}.txt"
    path = packaged if packaged.is_file() else Path(vocabulary)
    if path.is_dir():
        path = path / "vocab.txt"
    return path if path.is_file() else cached_vocabulary(vocabulary)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Word pieces and their numbers, from a file with one a line.

    Raises:
        ValueError: it lacks a token that every sentence needs.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    pieces = {piece: number for number, piece in enumerate(lines)}
    for token in NEEDED_TOKENS:
        if token not in pieces:
            raise ValueError(f"{path}: is no vocabulary of BERT's, it has no {token}")
    return pieces


def read_settings(path: Path) -> dict[str, Any]:
    """What a tokenizer_config.json says about words; nothing where there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        settings = checked(_SETTINGS, read_json(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {key: value for key, value in settings.items() if value is not None}


def lasting_name(vocabulary: str) -> str:
    """The name under which a vocabulary is found from any folder: a local one's whole path.

    A checkpoint carries it, and is used from elsewhere than where it was trained.
    """
    is_packaged = (PACKAGED_FOLDER / f"{vocabulary}.txt").is_file()
    is_local = not is_packaged and bool(vocabulary) and Path(vocabulary).exists()
    return os.path.abspath(vocabulary) if is_local else vocabulary


def cached_vocabulary(name: str) -> Path:
    """vocab.txt of a Hugging Face name, from the local cache.

    Asked for by its file name: the library's own loader makes an empty tokenizer, without a word,
    of a name it does not find.
    """
    try:
        found = cached_file(name, "vocab.txt", local_files_only=True)
    except (OSError, ValueError) as error:
        if os.path.isabs(name):
            raise FileNotFoundError(
                f"{name}, which INPUT.TOKENIZER names, is missing or holds no vocab.txt; put it "
                "back, or name another place"
            ) from error
        raise FileNotFoundError(
            f"INPUT.TOKENIZER is {name!r}, but its vocab.txt is neither a local file or folder nor "
            f"in the Hugging Face cache. It is published at https://huggingface.co/{name}: "
            f"download it once (for example 'hf download {name}') or name a folder that holds "
            "vocab.txt"
        ) from error
    assert found is not None, "cached_file raises where it finds nothing"
    return Path(found)
