"""How many expressions a limit of tokens cuts."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .tokenization import ExpressionTokenizer

TOKEN_LIMITS = (20, 64)  # of the released code, and of this project


def count_truncated(expressions: Iterable[str], tokenizer: ExpressionTokenizer) -> int:
    """Number of expressions that lose their end to ``tokenizer.max_tokens``."""
    return sum(map(tokenizer.is_truncated, expressions))


def truncated_shares(
    expressions: Collection[str], vocabulary: str, limits: Iterable[int] = TOKEN_LIMITS
) -> dict[int, float]:
    """Share of the expressions that lose their end, by limit of tokens, in [0, 1].

    Args:
        expressions: at least one.
        vocabulary: as INPUT.TOKENIZER.

    Raises:
        FileNotFoundError, ValueError: as ExpressionTokenizer.
    """
    tokenizers = [ExpressionTokenizer(vocabulary=vocabulary, max_tokens=limit) for limit in limits]
    return {
        tokenizer.max_tokens: count_truncated(expressions, tokenizer) / len(expressions)
        for tokenizer in tokenizers
    }
