"""Tokenizes expressions with the text encoder's own tokenizer.

The transformers library is imported where a folder asks for it: it takes a second, and the
tokenizer that a checkpoint carries needs none of it.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode
from pydantic import StrictBool, TypeAdapter
from tokenizers import Tokenizer
from torch import Tensor
from typing_extensions import TypedDict

from ..checkpoint_file import read_metadata
from ..library_errors import first_line
from ..model_folder import find_model_folder
from ..package_files import find_package_file, is_package_reference
from .plain_files import read_json, read_text
from .plain_tokenizer import PlainTokenizer
from .validation import quote, validate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Vocabularies that come with the package, by the name INPUT.TOKENIZER gives them.
PACKAGED_FOLDER = Path(__file__).parent / "vocabularies"
NEEDED_TOKENS = ("[UNK]", "[CLS]", "[SEP]")  # of a vocabulary of BERT's
# Beside a vocabulary: how to normalise its words.
SETTINGS_FILE = "tokenizer_config.json"
VOCABULARY_FILE, WHOLE_FILE = "vocab.txt", "tokenizer.json"
# A folder with one of these holds a tokenizer.
TOKENIZER_FILES = (
    *(WHOLE_FILE, VOCABULARY_FILE, "vocab.json", "spiece.model", "tokenizer.model"),
    "sentencepiece.bpe.model",
)
CHECKPOINT_KEY = "tokenizer"  # of a checkpoint, under which it carries its tokenizer.json


class _Settings(TypedDict, total=False):
    do_lower_case: StrictBool | None
    strip_accents: StrictBool | None
    tokenize_chinese_chars: StrictBool | None


_SETTINGS = TypeAdapter(_Settings)


class ExpressionTokenizer(PlainTokenizer):
    """The tokenizer that a config names; gives tensors."""

    def __init__(self, *, vocabulary: str, max_tokens: int, key: str = "INPUT.TOKENIZER"):
        """
        Args:
            vocabulary: as ``load_tokenizer``.
            max_tokens: as PlainTokenizer.
            key: the config key that names the vocabulary, for messages.

        Raises:
            FileNotFoundError: the vocabulary is not on this machine.
            ValueError: ``max_tokens`` leaves no room for a word, or the file is not a tokenizer.
        """
        self.vocabulary = vocabulary
        super().__init__(backend=load_tokenizer(vocabulary, key=key), max_tokens=max_tokens)

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """As transformers' code expects it; made on first use, since importing that library takes
        seconds.
        """
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_object=self.backend)

    def __call__(self, expression: str) -> Tensor:
        """``token_ids`` as (T,) int64.

        Raises: as ``token_ids``.
        """
        return torch.tensor(self.token_ids(expression))

    def spell(self, input_ids: Tensor) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return [str(self.backend.id_to_token(token)) for token in input_ids.tolist()]


def build_tokenizer(cfg: CfgNode) -> ExpressionTokenizer:
    """The tokenizer of INPUT.TOKENIZER; if that is "", the text encoder's own.

    Raises:
        FileNotFoundError, ValueError: see ExpressionTokenizer; or no key names a tokenizer.
    """
    text = cfg.MODEL.TEXT_ENCODER
    places = {
        "INPUT.TOKENIZER": cfg.INPUT.TOKENIZER,
        "MODEL.TEXT_ENCODER.WEIGHTS": text.WEIGHTS,
        "MODEL.TEXT_ENCODER.CONFIG": "" if text.CONFIG.startswith("json:") else text.CONFIG,
    }
    for key, vocabulary in places.items():
        if vocabulary:
            return ExpressionTokenizer(
                vocabulary=vocabulary, max_tokens=cfg.INPUT.MAX_TOKENS, key=key
            )
    raise ValueError(
        'INPUT.TOKENIZER "" follows the text encoder, but MODEL.TEXT_ENCODER.WEIGHTS and CONFIG '
        "name none; set INPUT.TOKENIZER"
    )


def load_tokenizer(vocabulary: str, *, key: str = "INPUT.TOKENIZER") -> Tokenizer:
    """Load a tokenizer from this machine.

    Args:
        vocabulary: the name of a packaged vocabulary ("synthrs"), a Hugging Face folder, a Hugging
            Face name in the local cache, "package:NAME/folder", a tokenizer.json, a BERT vocab.txt,
            or a checkpoint of this project.
        key: the config key that names it, for messages.

    Raises:
        FileNotFoundError: it is not on this machine.
        ValueError: it is not a tokenizer.
    """
    packaged = PACKAGED_FOLDER / f"{vocabulary}.txt"
    path = packaged if packaged.is_file() else Path(vocabulary)
    if is_package_reference(vocabulary):
        path = find_package_file(vocabulary)
    if path.is_file():
        return _load_tokenizer_file(path)
    folder = find_model_folder(vocabulary, files=TOKENIZER_FILES, key=key)
    if (folder / VOCABULARY_FILE).is_file() and not (folder / WHOLE_FILE).is_file():
        return _build_bert_tokenizer(folder / VOCABULARY_FILE)
    return _load_published_tokenizer(folder)


def _load_tokenizer_file(path: Path) -> Tokenizer:
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if is_archive:  # as torch.save writes them
        path = Path(os.path.abspath(path))
        text = _read_carried_json(path, path.stat().st_mtime_ns)
        return _parse_tokenizer_json(text, source=f"the tokenizer that {path} carries")
    if path.suffix == ".json":
        return _parse_tokenizer_json(read_text(path), source=str(path))
    return _build_bert_tokenizer(path)


@functools.lru_cache(maxsize=8)
def _read_carried_json(path: Path, _modified: int) -> str:
    """Read the tokenizer.json from a checkpoint; cached, as every data loader needs it."""
    text = read_metadata(path).get(CHECKPOINT_KEY)
    if not isinstance(text, str):
        raise ValueError(f"{path} carries no tokenizer; set INPUT.TOKENIZER to another one")
    return text


def _parse_tokenizer_json(text: str, *, source: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{source}: not a tokenizer.json ({quote(str(error))})") from error


def _load_published_tokenizer(folder: Path) -> Tokenizer:
    """Load a folder's tokenizer with transformers, without running code from the folder.

    Raises:
        ValueError: it is damaged, or needs code from the folder or another library.
    """
    from transformers import AutoTokenizer  # type: ignore[attr-defined]

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if tokenizer.is_fast:
            return tokenizer.backend_tokenizer
        reason = f"{type(tokenizer).__name__} has no {WHOLE_FILE}"
    except Exception as error:  # transformers raises anything on unknown files
        reason = first_line(error)
    whole = folder / WHOLE_FILE
    if whole.is_file():  # SigLIP's class reads another file, with another library
        return _parse_tokenizer_json(read_text(whole), source=str(whole))
    raise ValueError(f"{folder}: has no usable tokenizer ({reason})")


def _build_bert_tokenizer(path: Path) -> Tokenizer:
    """Build BERT's tokenizer from a vocabulary file.

    Words are lower-cased and stripped of accents if the settings beside the vocabulary say so, or,
    without settings, if the vocabulary has no capital letter.
    """
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    pieces = _read_vocabulary(path)
    words = [piece for piece in pieces if not piece.startswith("[")]  # "[MASK]" is none
    has_capitals = any(word != word.lower() for word in words)
    settings = {"do_lower_case": not has_capitals, **_read_settings(path.with_name(SETTINGS_FILE))}
    # By position: the keyword is `vocab` in transformers 5 and was `vocab_file` before.
    return BertTokenizerFast(pieces, **settings).backend_tokenizer


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Read word pieces and their ids from a file with one per line.

    Raises:
        ValueError: a special token is missing.
    """
    lines = read_text(path).rstrip("\n").split("\n")
    pieces = {piece: number for number, piece in enumerate(lines)}
    for token in NEEDED_TOKENS:
        if token not in pieces:
            raise ValueError(f"{path}: not a BERT vocabulary, it has no {token}")
    return pieces


def _read_settings(path: Path) -> dict[str, Any]:
    """Read word settings from a tokenizer_config.json; empty if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        settings = validate(_SETTINGS, read_json(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {key: value for key, value in settings.items() if value is not None}
