"""BERT's WordPiece tokenizer, with the vocabulary named by the config."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import BertTokenizerFast  # type: ignore[attr-defined]
from transformers.utils import cached_file

# Vocabularies that come with the package, by the name INPUT.TOKENIZER gives them.
PACKAGED_FOLDER = Path(__file__).parent / "vocabularies"


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
            ValueError: ``max_tokens`` leaves no room for a word.
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
            raise ValueError(f"the expression {expression!r} is empty; nothing can be looked for")
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

    def word_pieces(self, expression: str) -> list[int]:
        # The length warning of the library speaks of its own limit, not of ours.
        return self.tokenizer(expression, add_special_tokens=False, verbose=False)["input_ids"]


def load_tokenizer(vocabulary: str) -> BertTokenizerFast:
    """Read a vocabulary from the package, a file, a folder or the local Hugging Face cache."""
    packaged = PACKAGED_FOLDER / f"{vocabulary}.txt"
    path = packaged if packaged.is_file() else Path(vocabulary)
    if path.is_dir():
        path = path / "vocab.txt"
    if not path.is_file():
        path = Path(cached_vocabulary(vocabulary))
    # By position: the keyword is `vocab` in transformers 5 and was `vocab_file` before.
    return BertTokenizerFast(str(path), do_lower_case=True)


def cached_vocabulary(name: str) -> str:
    """vocab.txt of a Hugging Face name, from the local cache.

    Asked for by its file name: the library's own loader makes an empty tokenizer, without a word,
    of a name it does not find.
    """
    try:
        found = cached_file(name, "vocab.txt", local_files_only=True)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"INPUT.TOKENIZER is {name!r}, but its vocab.txt is neither a local file or folder nor "
            f"in the Hugging Face cache. It is published at https://huggingface.co/{name}: "
            f"download it once (for example 'hf download {name}') or name a folder that holds "
            "vocab.txt"
        ) from error
    assert found is not None, "cached_file raises where it finds nothing"
    return found
