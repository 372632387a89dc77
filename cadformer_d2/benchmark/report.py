"""A benchmark's result as a table, and two results side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tabulate import tabulate


def format_table(result: Mapping[str, Any]) -> str:
    """Format the numbers of a result, one per line."""
    rows = [(name, value) for name, value in _flatten(result)]
    return tabulate(rows, ["measured", "value"], floatfmt=".4g", intfmt=",")


def format_comparison(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Format the numbers that two results share, with the ratio of the second to the first."""
    others = dict(_flatten(second))
    rows = [
        (name, value, others[name], others[name] / value)
        for name, value in _flatten(first)
        if _is_number(value) and value and _is_number(others.get(name))
    ]
    return tabulate(rows, ["measured", "A", "B", "B / A"], floatfmt=".4g")


def _flatten(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(names joined by " / ", value) of all leaves."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name} / ")
        else:
            yield f"{prefix}{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
