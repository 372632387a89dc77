"""Resumable calls of the project's own commands: what is done is not repeated."""

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
from ..pretrained_folder import WEIGHTS_FILE

# glibc returns freed memory at once, and every training step on a CPU faults it in again: a tenth
# of the quickstart's time.
KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
PROGRAM = (sys.executable, "-W", "ignore", "-m", "cadformer_d2")
RUN_CONFIG = "asked.yaml"  # in a run's folder: its config
TRAIN_TIME = "train_seconds.json"
_running: set[subprocess.Popen] = set()
SCORED = "scored.json"  # by dataset: fingerprints of the metrics file and its checkpoint


def call(
    *command: str, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run one of the project's commands in the caller's working directory.

    Args:
        command: its name and arguments.
        log: file to which its output is appended; None: the terminal, with the command itself.
        environment: variables to set unless the caller's environment has them.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    # Libraries' warnings about each other would bury what matters.
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


def terminate_running() -> None:
    """Terminate the commands that other threads wait for."""
    for process in list(_running):
        process.terminate()


def train(config_file: Path, folder: Path, **options: Any) -> float:
    """Train a config or resume its interrupted run; a finished run is left alone.

    Args:
        config_file: its OUTPUT_DIR is ``folder``.
        options: of ``call``.

    Returns:
        seconds of wall time, including those before interruptions (but not before a kill -9).

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
        _write_record(record, {"seconds": seconds, "finished": finished})
    return seconds


def resolve_dataset(cfg: CfgNode, requested: str | None, variants: Iterable[str] = ()) -> str:
    """Return the dataset to score: the requested one, or the first of DATASETS.TEST.

    Args:
        variants: suffixes of the variants that will be scored too.

    Raises:
        ValueError: DATASETS.TEST is empty, or the dataset or a variant is not registered.
    """
    if not requested and not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; add --dataset, for example --dataset rrsisd_test")
    name = requested or cfg.DATASETS.TEST[0]
    register_datasets(lenient=cfg.DATASETS.LENIENT)
    for scored in (name, *(f"{name}_{variant}" for variant in variants)):
        refuse_unknown(scored)
    return name


def best_weights(folder: Path) -> Path:
    """The checkpoint with the best validation score, or the last one if there was no validation."""
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
    """Score a checkpoint on each dataset, except where its metrics exist already.

    Args:
        config_file: for settings that the checkpoint does not fix, such as TEST.
        folder: where metrics and predictions go.
        overrides: KEY VALUE pairs that override the checkpoint's config.
        options: of ``call``.

    Returns:
        the contents of ``metrics_<dataset>.json``.

    Raises:
        subprocess.CalledProcessError: evaluation failed.
    """
    record = folder / SCORED
    scored = read_json(record) if record.exists() else {}
    files = {name: folder / f"metrics_{name}.json" for name in datasets}
    missing = [n for n, file in files.items() if scored.get(n) != _fingerprint(weights, file)]
    if missing:
        # A file overwritten halfway belongs to no checkpoint.
        _write_record(record, {n: of for n, of in scored.items() if n not in missing})
        call(
            *("train", "--config-file", str(config_file), "--eval-only"),
            *overrides,
            *("MODEL.WEIGHTS", str(weights)),
            *("DATASETS.TEST", str(tuple(missing))),
            *("OUTPUT_DIR", str(folder)),
            **options,
        )
        _write_record(record, scored | {n: _fingerprint(weights, files[n]) for n in missing})
    return [read_json(file) for file in files.values()]


def _fingerprint(weights: Path, metrics: Path) -> dict[str, Any]:
    """Identify both files as they are now; another evaluation would change the second."""
    return {"checkpoint": _file_identity(weights), "metrics": _file_identity(metrics)}


def _file_identity(file: Path) -> dict[str, Any] | None:
    """What tells one file from another without reading it; None where there is none.

    Of a model's folder, its weights are looked at.
    """
    if file.is_dir():
        file = file / WEIGHTS_FILE
    if not file.exists():
        return None
    status = file.stat()
    return {"file": str(file.resolve()), "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _write_record(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content))
