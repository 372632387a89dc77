"""How many expressions a token limit truncates."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .tokenization import ExpressionTokenizer

TOKEN_LIMITS = (20, 64)  # of the released code and of this project


def count_truncated(expressions: Iterable[str], tokenizer: ExpressionTokenizer) -> int:
    """Count the expressions that ``tokenizer.max_tokens`` truncates."""
    return sum(map(tokenizer.is_truncated, expressions))


def compute_truncated_shares(
    expressions: Collection[str], vocabulary: str, limits: Iterable[int] = TOKEN_LIMITS
) -> dict[int, float]:
    """Share of the expressions that each token limit truncates, in [0, 1].

    Args:
        expressions: at least one.
        vocabulary: as INPUT.TOKENIZER.

    Raises:
        FileNotFoundError, ValueError: see ExpressionTokenizer.
    """
    tokenizers = [ExpressionTokenizer(vocabulary=vocabulary, max_tokens=limit) for limit in limits]
    return {
        tokenizer.max_tokens: count_truncated(expressions, tokenizer) / len(expressions)
        for tokenizer in tokenizers
    }
