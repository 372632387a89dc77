"""What is wrong with a source of boxes and sentences, and what was done about it."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tabulate import tabulate

from ..atomic_files import written_whole

REPAIRED, SET_ASIDE, KEPT = "repaired", "set aside", "kept"


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong, where, and what was done."""

    file: str
    place: str  # "line 18", "object 4", "annotation 7"
    kind: str
    action: str  # repaired, set aside or kept
    detail: str  # what was found and, of a repair, what was made of it


class DefectLog:
    """Collects defects while a source is read."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []

    def add(self, file: Path, place: str, kind: str, action: str, detail: str) -> None:
        self.defects.append(Defect(file.name, place, kind, action, detail))

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of defects by (kind, action)."""
        return Counter((defect.kind, defect.action) for defect in self.defects)

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
        """All defects as CSV."""
        with written_whole(path) as unfinished, unfinished.open("w", newline="") as file:
            table = csv.DictWriter(file, [field.name for field in fields(Defect)])
            table.writeheader()
            table.writerows(map(asdict, self.defects))
