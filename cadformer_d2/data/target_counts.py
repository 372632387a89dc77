"""Counts of refs or expressions by their number of targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

TARGET_GROUPS = ("no target", "one target", "several targets")


def count_by_targets(numbers: Iterable[int]) -> dict[str, int]:
    """How many have no, one or several targets, by the names of ``TARGET_GROUPS``."""
    counts = Counter(TARGET_GROUPS[min(number, 2)] for number in numbers)
    return {name: counts[name] for name in TARGET_GROUPS}
