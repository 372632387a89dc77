"""What is wrong with a dataset's records: an error at once, or counted and logged."""

from __future__ import annotations

import logging
from collections import defaultdict

logger = logging.getLogger(__name__)

# Offenders of each kind that a report names; the rest are counted.
NAMED_OFFENDERS = 3


class UnusableRecordError(ValueError):
    """Says what is wrong with one record.

    Args:
        kind: what such defects are counted under.
        message: what was found in the record.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class DefectReport:
    """Counts what is wrong with a dataset; raises at once unless lenient.

    In lenient mode the unusable record is skipped, and ``log`` says how many of each kind and
    names the first few.
    """

    def __init__(self, *, lenient: bool):
        self.lenient = lenient
        self.offenders: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, message: str) -> None:
        """
        Args:
            kind: what the count is kept under.
            message: names file and id, and says what was found.

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
