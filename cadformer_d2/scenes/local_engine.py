"""Scenes one after the other in this process: the reference for every other engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .agenda import Agenda
from .job import Job
from .source import SceneSource
from .worker import Outcome, SceneWorker


def segment_locally(
    job: Job,
    sources: Iterable[SceneSource],
    *,
    retries: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Yield what becomes of each scene, as soon as it is known.

    Args:
        report: called with the numbers of tiles that are done and of all, of the present scene.

    Raises: as SceneWorker.
    """
    worker = SceneWorker(job)
    agenda = Agenda(sources, retries=retries)
    while agenda:
        outcome = worker.segment(agenda.next(), report)
        if agenda.is_final(outcome):
            yield outcome
