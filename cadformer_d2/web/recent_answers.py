"""Recent answers of each session, so that moving a slider does not run the network again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from .answers import ImageAnswers


class RecentAnswers:
    """The last answers of the most recent sessions; thread-safe."""

    def __init__(
        self, *, max_bytes: int, max_age: float, clock: Callable[[], float] = time.monotonic
    ):
        """
        Args:
            max_bytes: of all sessions together; the newest is always kept.
            max_age: seconds after which unused answers are dropped.
            clock: seconds.
        """
        self.max_bytes, self.max_age, self.clock = max_bytes, max_age, clock
        self.kept: OrderedDict[str | None, tuple[float, ImageAnswers]] = (
            OrderedDict()
        )  # the newest last
        self.lock = threading.Lock()

    def put(self, session: str | None, answered: ImageAnswers) -> None:
        with self.lock:
            self._store(session, answered)

    def get(self, session: str | None) -> ImageAnswers | None:
        """A session's answers, which become the newest; None if they were dropped."""
        with self.lock:
            self._drop_old()
            if session not in self.kept:
                return None
            _, answered = self.kept[session]
            self._store(session, answered)
            return answered

    def drop(self, session: str | None) -> None:
        with self.lock:
            self.kept.pop(session, None)

    def _store(self, session: str | None, answered: ImageAnswers) -> None:
        self.kept[session] = self.clock(), answered
        self.kept.move_to_end(session)
        self._drop_old()

    def _drop_old(self) -> None:
        total = sum(answered.bytes for _, answered in self.kept.values())
        for session, (last_used, answered) in list(self.kept.items()):
            is_old = self.clock() - last_used > self.max_age
            if not is_old and (total <= self.max_bytes or len(self.kept) == 1):
                return
            del self.kept[session]
            total -= answered.bytes
