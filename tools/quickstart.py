#!/usr/bin/env python3
"""The quickstart: generate synthrs, train, evaluate, draw. What already exists is reused.

    python tools/quickstart.py

Runs the project's own commands and prints each, so that you can repeat them by hand. Writes
output/quickstart/summary.json and output/quickstart/predictions.png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

from cadformer_d2.command_errors import run_command
from cadformer_d2.commands import runs

ROOT = Path(__file__).resolve().parent.parent
CONFIG = Path("configs/quickstart.yaml")
OUTPUT = Path("output/quickstart")
TEST, SHUFFLED = "synthrs_test", "synthrs_test_shuffled"


def summarize(
    test: dict[str, float], shuffled: dict[str, float], *, train_seconds: float
) -> dict[str, object]:
    """Collect the numbers of summary.json."""
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


def run_demo() -> None:
    """Every step of the quickstart, from the project's root."""
    runs.call("dataset", "synthesize")
    train_seconds = runs.train(CONFIG, OUTPUT)
    weights = runs.best_weights(OUTPUT)
    test, shuffled = runs.evaluate(CONFIG, weights, (TEST, SHUFFLED), OUTPUT)
    summary = summarize(test, shuffled, train_seconds=train_seconds)
    predictions = str(OUTPUT / f"predictions_{TEST}.json")
    sheet = str(OUTPUT / "predictions.png")
    runs.call("figure", predictions, "--output", sheet)
    (OUTPUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{OUTPUT / 'summary.json'}:\n{json.dumps(summary, indent=2)}\nfigure: {sheet}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    os.chdir(ROOT)
    try:
        run_demo()
    except subprocess.CalledProcessError as error:  # the command has reported why
        raise SystemExit(error.returncode) from error


if __name__ == "__main__":
    run_command(main)
