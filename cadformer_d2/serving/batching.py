"""Questions of many requests, answered together by one model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from ..inference import MaskPredictor

STOP = None  # the queue's last entry


class QueueFullError(Exception):
    """There is no room for another request's questions."""


class BatchRunner:
    """A queue of samples, and a thread that gives them to the model in batches.

    The thread takes what waits, up to the predictor's batch size, and waits for no more: under load
    batches fill by themselves, and a lone question is answered at once.
    """

    def __init__(
        self,
        predictor: MaskPredictor,
        *,
        capacity: int,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        """
        Args:
            predictor: called by the thread alone.
            capacity: samples that may wait.
            observe: told the size and the seconds of each batch.
        """
        self.predictor = predictor
        self.capacity = capacity
        self.observe = observe
        self.waiting: queue.Queue[tuple[dict[str, Any], Future] | None] = queue.Queue()
        self.lock = threading.Lock()  # several samples of a request enter, or none
        self.thread = threading.Thread(target=self._run, name="model", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The thread runs within the block; samples that wait at its end are still answered."""
        self.thread.start()
        try:
            yield
        finally:
            self.waiting.put(STOP)
            self.thread.join()

    @property
    def num_waiting(self) -> int:
        return self.waiting.qsize()

    def submit(self, samples: list[dict[str, Any]]) -> list[Future]:
        """Let samples of ``prepare_image`` and ``prepare_expression`` wait for their answers.

        Returns:
            futures of a ReferredMask each; a cancelled one is not computed.

        Raises:
            QueueFullError: not all of them have room.
        """
        futures: list[Future] = [Future() for _ in samples]
        with self.lock:
            if self.num_waiting + len(samples) > self.capacity:
                raise QueueFullError
            for entry in zip(samples, futures, strict=True):
                self.waiting.put(entry)
        return futures

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            wanted = [
                (sample, future)
                for sample, future in batch
                if future.set_running_or_notify_cancel()
            ]
            if wanted:
                self._answer(*map(list, zip(*wanted, strict=True)))

    def _take(self) -> list[tuple[dict[str, Any], Future]] | None:
        """What waits, at most a batch; None: no more will come."""
        entry = self.waiting.get()
        if entry is STOP:
            return None
        batch = [entry]
        while len(batch) < self.predictor.batch_size:
            try:
                entry = self.waiting.get_nowait()
            except queue.Empty:
                break
            if entry is STOP:
                self.waiting.put(STOP)  # for the next time
                break
            batch.append(entry)
        return batch

    def _answer(self, samples: list[dict[str, Any]], futures: list[Future]) -> None:
        start = time.perf_counter()
        try:
            answers = self.predictor.answer_batch(samples)
            for future, found in zip(futures, answers, strict=True):
                future.set_result(found)
        except Exception as error:  # the thread must live on; who asked is told
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        self.observe(len(samples), time.perf_counter() - start)
