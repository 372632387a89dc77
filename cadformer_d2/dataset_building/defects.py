"""Defects of a source of boxes and sentences, and how each was handled."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from tabulate import tabulate

from .spreadsheet import write_spreadsheet

REPAIRED, SET_ASIDE, KEPT = "repaired", "set aside", "kept"


@dataclass(frozen=True)
class Defect:
    """One defect, its place, and how it was handled."""

    file: str
    place: str  # "line 18", "object 4", "annotation 7"
    kind: str
    action: str  # repaired, set aside or kept
    detail: str  # what was found and, if repaired, the result


class DefectLog:
    """Collects defects while reading a source."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []

    def add(self, file: Path, place: str, kind: str, action: str, detail: str) -> None:
        self.defects.append(Defect(file.name, place, kind, action, detail))

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of defects by (kind, action)."""
        return Counter((defect.kind, defect.action) for defect in self.defects)

    def first(self) -> str:
        """The first defect in one line."""
        if not self.defects:
            return "no defects"
        defect = self.defects[0]
        return f"{defect.file}, {defect.place}: {defect.kind} ({defect.detail})"

    def table(self) -> str:
        """Counts by kind, with the first place of each, as a Markdown table."""
        if not self.defects:
            return "no defects"
        first = {(d.kind, d.action): d for d in reversed(self.defects)}
        rows = [
            (kind, action, number, f"{first[kind, action].file}, {first[kind, action].place}")
            for (kind, action), number in sorted(self.counts().items())
        ]
        return tabulate(rows, ("kind", "action", "number", "first"), tablefmt="github")

    def write(self, path: Path) -> None:
        """Write all defects as CSV."""
        header = [field.name for field in fields(Defect)]
        write_spreadsheet(path, [header, *map(astuple, self.defects)])
