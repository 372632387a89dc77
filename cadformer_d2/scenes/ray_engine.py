"""Scenes on many workers, on this machine or on a cluster: by Ray. Needs the extra ``cluster``.

Ray starts and places the workers, carries scenes to them and outcomes back, and says when one has
died. Which answers are there is the business of the output folder, which all workers see: nothing
that Ray knows is needed to go on after a kill.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..library_errors import first_line
from .agenda import Agenda
from .job import Job
from .source import SceneSource
from .worker import Outcome, SceneWorker

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 * 2**20  # Ray's least; only names and outcomes travel
POLL_SECONDS = 1.0
SECONDS_WITHOUT_WORKER = 300  # before the user is told
MOST_DEATHS_AT_START = 3  # of each worker, before one has started


@dataclass(frozen=True)
class RayOptions:
    """Where the workers are, and how many."""

    address: str = ""  # of a cluster to join; "": start Ray on this machine
    num_workers: int | None = None  # None: as many as fit
    scene_seconds: float | None = None  # after which a worker is given up; None: never


class RemoteWorker:
    """A SceneWorker in a process of Ray's; an error of its start is an answer, not a death."""

    def load(self, job: Job) -> None:
        self.worker = SceneWorker(job)

    def segment(self, source: SceneSource) -> Outcome:
        return self.worker.segment(source)


def segment_on_ray(
    job: Job,
    sources: Iterable[SceneSource],
    *,
    retries: int = 0,
    options: RayOptions | None = None,
) -> Iterator[Outcome]:
    """Yield what becomes of each scene, as soon as it is known.

    A worker has one scene at a time, so memory does not grow with their number.

    Args:
        retries: of a scene that failed, or whose worker died.

    Raises:
        ImportError: Ray is not installed.
        OSError: no cluster at the address, or workers that die as they start.
        others: as SceneWorker.
    """
    options = options or RayOptions()
    ray = _import_ray()
    job = replace(job, num_threads=job.num_threads or 1)
    # Ray gives a worker the GPUs that it asks for, and hides the others.
    num_gpus = 1 if (job.device or "cuda").startswith("cuda") and torch.cuda.is_available() else 0
    with _connection(ray, options, num_cpus=job.num_threads or 1) as resources:
        fitting = _count_fitting(resources, num_cpus=job.num_threads or 1, num_gpus=num_gpus)
        crew = _Crew(ray, job, options, num_gpus=num_gpus)
        crew.start(options.num_workers or max(1, fitting))
        yield from crew.work(Agenda(sources, retries=retries))


@dataclass
class _Task:
    """A scene that a worker segments."""

    worker: Any
    source: SceneSource
    start: float
    is_given_up: bool = False


class _Crew:
    """Workers of Ray's, and what each is doing, by the reference to its answer."""

    def __init__(self, ray: Any, job: Job, options: RayOptions, *, num_gpus: int):
        self.ray, self.job, self.options = ray, job, options
        self.kind = ray.remote(RemoteWorker).options(
            num_cpus=job.num_threads, num_gpus=num_gpus, scheduling_strategy="SPREAD"
        )
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.busy: dict[Any, _Task] = {}
        self.deaths_at_start, self.most_deaths = 0, 0

    def start(self, count: int) -> None:
        self.most_deaths = MOST_DEATHS_AT_START * count
        for _ in range(count):
            self._start_one()

    def _start_one(self) -> None:
        worker = self.kind.remote()
        self.starting[worker.load.remote(self.job)] = worker

    def work(self, agenda: Agenda) -> Iterator[Outcome]:
        """Keep every worker busy until no scene waits."""
        last_seen = time.monotonic()
        while agenda or self.busy:
            while self.idle and agenda:
                worker, source = self.idle.pop(), agenda.next()
                answer = worker.segment.remote(source)
                self.busy[answer] = _Task(worker, source, time.monotonic())
            answered, _ = self.ray.wait([*self.starting, *self.busy], timeout=POLL_SECONDS)
            for answer in answered:
                if answer in self.starting:
                    self._welcome(answer)
                elif agenda.is_final(outcome := self._receive(answer)):
                    yield outcome
            self._give_up_stuck()
            if self.idle or self.busy:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > SECONDS_WITHOUT_WORKER:
                logger.warning("no worker for %d s: is a machine free?", SECONDS_WITHOUT_WORKER)
                last_seen = time.monotonic()

    def _welcome(self, answer: Any) -> None:
        """Take a worker that has started among the idle, or start another in its place.

        Raises:
            OSError: too many died.
            others: what the worker says is wrong with the job.
        """
        worker = self.starting.pop(answer)
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except self.ray.exceptions.RayError as error:
            self.deaths_at_start += 1
            if self.deaths_at_start > self.most_deaths:
                raise OSError(f"workers die as they start: {first_line(error)}") from error
            self._start_one()
            return
        self.deaths_at_start = 0
        self.idle.append(worker)

    def _receive(self, answer: Any) -> Outcome:
        """What became of a scene; a worker that died is replaced."""
        task = self.busy.pop(answer)
        try:
            outcome = self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            outcome = Outcome(task.source, error=first_line(error), details=str(error))
        except self.ray.exceptions.RayError as error:
            self._start_one()
            reason = f"its worker died ({first_line(error)})"
            if task.is_given_up:
                reason = f"it took longer than {self.options.scene_seconds:g} s"
            return Outcome(task.source, error=reason, details=str(error))
        self.idle.append(task.worker)
        return outcome

    def _give_up_stuck(self) -> None:
        if self.options.scene_seconds is None:
            return
        for task in self.busy.values():
            took = time.monotonic() - task.start
            if took > self.options.scene_seconds and not task.is_given_up:
                task.is_given_up = True
                self.ray.kill(task.worker)


def _import_ray() -> Any:
    """Ray, which tells nobody that it is used.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; many workers need the extra cluster: "
            "pip install 'cadformer_d2[cluster]'"
        ) from error
    return ray


@contextmanager
def _connection(ray: Any, options: RayOptions, *, num_cpus: int) -> Iterator[dict[str, float]]:
    """Join a cluster, or start Ray on this machine; yields the resources of all machines.

    Args:
        num_cpus: of a worker.

    Raises:
        OSError: it cannot be reached.
    """
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    folder = None
    if options.address:
        settings["address"] = options.address
    else:
        folder = tempfile.mkdtemp(prefix="cadformer_ray_")
        settings |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": folder,
        }
        if options.num_workers is not None:
            settings["num_cpus"] = options.num_workers * num_cpus
    try:
        try:
            ray.init(**settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = options.address or "this machine"
            raise OSError(f"Ray cannot be used on {where}: {first_line(error)}") from error
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _count_fitting(resources: dict[str, float], *, num_cpus: int, num_gpus: int) -> int:
    """How many workers the machines have room for."""
    if num_gpus:
        return int(resources.get("GPU", 0) / num_gpus)
    return int(resources.get("CPU", 0) / num_cpus)
