"""Which scene is next, and which has failed for good."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .source import SceneSource
from .worker import Outcome


class Agenda:
    """Scenes that wait; one that failed waits again behind the others."""

    def __init__(self, sources: Iterable[SceneSource], *, retries: int):
        """
        Args:
            retries: of a scene, after its first try.
        """
        self.waiting = deque((source, retries) for source in sources)
        self.retries_left: dict[SceneSource, int] = {}

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def next(self) -> SceneSource:
        """The scene to segment now; it is waiting no longer."""
        source, left = self.waiting.popleft()
        self.retries_left[source] = left
        return source

    def is_final(self, outcome: Outcome) -> bool:
        """Whether the scene is done with; if not, it waits again."""
        left = self.retries_left.pop(outcome.source)
        if not outcome.error or not left:
            return True
        self.waiting.append((outcome.source, left - 1))
        return False
