"""A benchmark's result as a table, and two results side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tabulate import tabulate


def as_table(result: Mapping[str, Any]) -> str:
    """Every number of a result, one a line."""
    rows = [(name, value) for name, value in flattened(result)]
    return tabulate(rows, ["measured", "value"], floatfmt=".4g", intfmt=",")


def comparison(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The numbers that two results share, and the second over the first."""
    others = dict(flattened(second))
    rows = [
        (name, value, others[name], others[name] / value)
        for name, value in flattened(first)
        if is_number(value) and value and is_number(others.get(name))
    ]
    return tabulate(rows, ["measured", "A", "B", "B / A"], floatfmt=".4g")


def flattened(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(names joined by " / ", value) of all leaves."""
    for name, value in result.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name} / ")
        else:
            yield f"{prefix}{name}", value


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
