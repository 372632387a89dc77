#!/usr/bin/env python3
r"""Draw a sheet of an evaluation's predictions: image | ground truth | prediction.

    python tools/draw_predictions.py output/quickstart/predictions_synthrs_test.json \
        --output sheet.png

The sentence and the IoU stand under each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

from cadformer_d2.visualization import comparison_sheet, read_comparison

matplotlib.use("Agg")


def choose(samples: list[dict], order: str, number: int, seed: int) -> list[dict]:
    """Samples to draw: at random, the best, the worst, or the first of the file."""
    if order == "random":
        chosen = np.random.default_rng(seed).choice(len(samples), min(number, len(samples)), False)
        return [samples[index] for index in chosen]
    if order in ("best", "worst"):
        samples = sorted(samples, key=lambda sample: sample["iou"], reverse=order == "best")
    return samples[:number]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", help="predictions_<dataset>.json of an evaluation")
    parser.add_argument("--output", required=True, help="picture to write (.png or .pdf)")
    parser.add_argument("--number", type=int, default=12, help="samples on the sheet")
    parser.add_argument("--order", default="random", choices=("random", "best", "worst", "first"))
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    arguments = parser.parse_args()
    path = Path(arguments.predictions)
    if not path.is_file():
        raise SystemExit(f"draw_predictions: {path} is missing; an evaluation writes it")
    samples = json.loads(path.read_text())["samples"]
    chosen = choose(samples, arguments.order, arguments.number, arguments.seed)
    sheet = comparison_sheet([read_comparison({"prediction": sample}) for sample in chosen])
    sheet.savefig(arguments.output, dpi=110)
    print(f"{len(chosen)} of {len(samples)} samples drawn: {arguments.output}")


if __name__ == "__main__":
    main()
