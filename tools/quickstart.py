#!/usr/bin/env python3
"""The demo: generate synthrs, train, evaluate, draw. What already exists is reused.

    python tools/quickstart.py

Runs the project's own commands one after the other and prints each, so that it can be repeated by
hand. Leaves output/quickstart/summary.json and output/quickstart/predictions.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/quickstart.yaml"
OUTPUT = Path("output/quickstart")
WEIGHTS = OUTPUT / "model_best.pth"
TRAIN_TIME = OUTPUT / "train_seconds.json"
TEST, SHUFFLED = "synthrs_test", "synthrs_test_shuffled"


def run(*command: str) -> None:
    """Run one of the project's commands from its root, after printing it.

    Raises:
        SystemExit: the command failed; its own message has been printed.
    """
    print(f"\n$ python {shlex.join(command)}", flush=True)
    # Warnings of libraries about each other would bury what matters.
    status = subprocess.run([sys.executable, "-W", "ignore", *command], cwd=ROOT).returncode
    if status:
        raise SystemExit(status)


def train() -> float:
    """Train, or go on with an interrupted run; nothing happens where a finished one is there.

    Returns:
        seconds of wall time, those before an interruption included.
    """
    spent = json.loads(TRAIN_TIME.read_text()) if TRAIN_TIME.exists() else {"seconds": 0.0}
    if spent.get("finished"):
        print(f"{TRAIN_TIME} exists: the trained model is reused.")
        return spent["seconds"]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    finished = False
    try:
        run("train_net.py", "--config-file", CONFIG, "--resume")
        finished = True
    finally:
        seconds = round(spent["seconds"] + time.perf_counter() - start, 1)
        TRAIN_TIME.write_text(json.dumps({"seconds": seconds, "finished": finished}))
    return seconds


def evaluate(dataset: str) -> dict[str, float]:
    """Metrics of the best checkpoint on a dataset, in percent."""
    metrics = OUTPUT / f"metrics_{dataset}.json"
    if not metrics.exists() or metrics.stat().st_mtime < WEIGHTS.stat().st_mtime:
        command = ["train_net.py", "--config-file", CONFIG, "--eval-only"]
        run(*command, "MODEL.WEIGHTS", str(WEIGHTS), "DATASETS.TEST", f"('{dataset}',)")
    return json.loads(metrics.read_text())


def summarize(
    test: dict[str, float], shuffled: dict[str, float], *, train_seconds: float
) -> dict[str, object]:
    """The numbers of summary.json."""
    thresholds = {f"pr{percent}": test[f"Pr@0.{percent // 10}"] for percent in range(50, 100, 10)}
    return {
        "mIoU": test["mIoU"],
        "oIoU": test["oIoU"],
        **thresholds,
        "mIoU_by_sentence": {
            kind: test[f"mIoU_{kind}"] for kind in ("category", "position", "relation")
        },
        "mIoU_shuffled": shuffled["mIoU"],
        "train_seconds": train_seconds,
        "num_samples": test["num_samples"],
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    os.chdir(ROOT)
    run("datasets/prepare_synthrs.py")
    train_seconds = train()
    summary = summarize(evaluate(TEST), evaluate(SHUFFLED), train_seconds=train_seconds)
    predictions = str(OUTPUT / f"predictions_{TEST}.json")
    sheet = str(OUTPUT / "predictions.png")
    run("tools/draw_predictions.py", predictions, "--output", sheet)
    (OUTPUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{OUTPUT / 'summary.json'}:\n{json.dumps(summary, indent=2)}\npictures: {sheet}")


if __name__ == "__main__":
    main()
