"""Defects of a dataset's records: raised at once, or counted and logged."""

from __future__ import annotations

import logging
from collections import defaultdict

logger = logging.getLogger(__name__)

# A report names this many records of each kind and counts the rest.
NAMED_OFFENDERS = 3


class UnusableRecordError(ValueError):
    """A record that cannot be used.

    Args:
        kind: of the defect, for counting.
        message: what is wrong with the record.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class DefectReport:
    """Counts a dataset's defects, or raises at the first one unless lenient.

    In lenient mode unusable records are skipped; ``log`` reports the number of each kind and names
    the first few.
    """

    def __init__(self, *, lenient: bool):
        self.lenient = lenient
        self.offenders: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, message: str) -> None:
        """
        Args:
            kind: of the defect, for counting.
            message: names file and id, and says what is wrong.

        Raises:
            ValueError: not lenient.
        """
        if not self.lenient:
            raise ValueError(
                f"{message}. Fix the file, or set DATASETS.LENIENT True to skip such records"
            )
        self.offenders[kind].append(message)

    def log(self, name: str) -> None:
        for kind, messages in sorted(self.offenders.items()):
            named = "; ".join(messages[:NAMED_OFFENDERS])
            logger.warning("%s: skipped %d records, %s: %s", name, len(messages), kind, named)
