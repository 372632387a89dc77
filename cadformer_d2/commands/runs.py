"""Calls of the project's own commands that may be interrupted, and are not repeated once done."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ..atomic_files import write_atomically
from ..data.catalog import refuse_unknown, register_datasets
from ..data.plain_files import read_json

# glibc gives freed memory back at once, and every step of a training on a CPU faults it in again: a
# tenth of the quickstart's time.
KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
PROGRAM = (sys.executable, "-W", "ignore", "-m", "cadformer_d2")
ASKED = "asked.yaml"  # in a run's folder: the config it was asked for
TRAIN_TIME = "train_seconds.json"
_running: set[subprocess.Popen] = set()
SCORED = "scored.json"  # by dataset: the metrics file, and the checkpoint that it is of


def call(
    *command: str, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run one of the project's commands in the caller's working directory.

    Args:
        command: its name and arguments.
        log: file that its output is added to; None: the terminal, with the
            command itself.
        environment: variables to set for it where the caller has not.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    # Warnings of libraries about each other would bury what matters.
    whole = [*PROGRAM, *command]
    variables = {**KEEP_FREED_MEMORY, **(environment or {}), **os.environ}
    with nullcontext() if log is None else log.open("a") as file:
        if file is None:
            print(f"\n$ cadformer {shlex.join(command)}", flush=True)
        with subprocess.Popen(whole, env=variables, stdout=file, stderr=file) as process:
            _running.add(process)
            try:
                status = process.wait()
            except BaseException:  # an interrupt
                process.terminate()
                raise
            finally:
                _running.discard(process)
    if status:
        raise subprocess.CalledProcessError(status, whole)


def end_running() -> None:
    """End the commands that other threads wait for."""
    for process in list(_running):
        process.terminate()


def train(config_file: Path, folder: Path, **options: Any) -> float:
    """Train a config, or go on with its interrupted run; nothing is done where one is finished.

    Args:
        config_file: whose OUTPUT_DIR is ``folder``.
        options: of ``call``.

    Returns:
        seconds of wall time, those before interruptions included (not those before a kill -9).

    Raises:
        subprocess.CalledProcessError: training failed.
    """
    record = folder / TRAIN_TIME
    spent = read_json(record) if record.exists() else {"seconds": 0.0}
    if spent.get("finished"):
        return spent["seconds"]
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    finished = False
    try:
        call("train", "--config-file", str(config_file), "--resume", **options)
        finished = True
    finally:
        seconds = round(spent["seconds"] + time.perf_counter() - start, 1)
        write_record(record, {"seconds": seconds, "finished": finished})
    return seconds


def tested_dataset(cfg: CfgNode, asked: str | None, variants: Iterable[str] = ()) -> str:
    """The dataset to score on: the one asked for, or the first that a config tests on.

    Args:
        variants: endings of names under which it will be scored as well.

    Raises:
        ValueError: there is none, or none of that name, or not all its variants.
    """
    if not asked and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; add --dataset, for example --dataset rrsisd_test")
    name = asked or cfg.DATASETS.TEST[0]
    register_datasets()
    for scored in (name, *(f"{name}_{variant}" for variant in variants)):
        refuse_unknown(scored)
    return name


def best_weights(folder: Path) -> Path:
    """The checkpoint with the best validation score, or the last where nothing was validated."""
    best = folder / "model_best.pth"
    return best if best.is_file() else folder / "model_final.pth"


def evaluate(
    config_file: Path,
    weights: Path,
    datasets: Sequence[str],
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Metrics of a checkpoint on each dataset; scored again only where they are of another one.

    Args:
        config_file: for what the checkpoint does not say, such as TEST.
        folder: where metrics and predictions go.
        overrides: KEY VALUE pairs that win over what the checkpoint says.
        options: of ``call``.

    Returns:
        the contents of ``metrics_<dataset>.json``.

    Raises:
        subprocess.CalledProcessError: evaluation failed.
    """
    record = folder / SCORED
    scored = read_json(record) if record.exists() else {}
    files = {name: folder / f"metrics_{name}.json" for name in datasets}
    missing = [n for n, file in files.items() if scored.get(n) != evidence(weights, file)]
    if missing:
        # A file that is overwritten halfway is nobody's.
        write_record(record, {n: of for n, of in scored.items() if n not in missing})
        call(
            *("train", "--config-file", str(config_file), "--eval-only"),
            *overrides,
            *("MODEL.WEIGHTS", str(weights)),
            *("DATASETS.TEST", str(tuple(missing))),
            *("OUTPUT_DIR", str(folder)),
            **options,
        )
        write_record(record, scored | {n: evidence(weights, files[n]) for n in missing})
    return [read_json(file) for file in files.values()]


def evidence(weights: Path, metrics: Path) -> dict[str, Any]:
    """Two files as they are now: another evaluation into the same folder changes the second."""
    return {"checkpoint": identity(weights), "metrics": identity(metrics)}


def identity(file: Path) -> dict[str, Any] | None:
    """What tells one file from another without reading it; None where there is none."""
    if not file.exists():
        return None
    status = file.stat()
    return {"file": str(file.resolve()), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content))
