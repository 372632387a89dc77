#!/usr/bin/env python3
r"""Draw a figure of predictions: image | ground truth | one column a model, the IoU under each row.

    python tools/make_figure.py output/quickstart/predictions_synthrs_test.json --output sheet.png
    python tools/make_figure.py ours=a/predictions_x.json lavt=b/predictions_x.json \
        --order disputed --number 6 --columns 1 --output figure.pdf

Predictions files are written by every evaluation; tools/compare.py --checkpoints makes them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from cadformer_d2.evaluation.comparison import SampleIous, most_disputed
from cadformer_d2.visualization import comparison_sheet, read_comparison

matplotlib.use("Agg")

ORDERS = ("random", "best", "worst", "first", "disputed")
Key = tuple[int, int]  # ref id, sentence id
Entries = dict[Key, dict[str, Any]]  # of one predictions file


def read_predictions(argument: str) -> tuple[str, Entries]:
    """Title and samples of a predictions file, named FILE or TITLE=FILE.

    Raises:
        FileNotFoundError: no such file.
    """
    title, separator, file = argument.rpartition("=")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; an evaluation writes it")
    samples = json.loads(path.read_text())["samples"]
    by_key = {(sample["ref_id"], sample["sent_id"]): sample for sample in samples}
    return title if separator else "prediction", by_key


def choose(
    models: Sequence[Entries], order: str, *, number: int, rng: np.random.Generator
) -> list[Key]:
    """Samples to draw, of those that all files have; best and worst are the first model's.

    Raises:
        ValueError: the files have no sample in common.
    """
    first = models[0]
    common = [key for key in first if all(key in other for other in models[1:])]
    if not common:
        raise ValueError("the predictions files have no sample in common")
    if order == "random":
        chosen = rng.choice(len(common), min(number, len(common)), replace=False)
        return [common[index] for index in chosen]
    if order == "disputed":
        images = np.array([first[key]["image_id"] for key in common])
        scores = [
            SampleIous(common, images, np.array([model[key]["iou"] for key in common]))
            for model in models
        ]
        return most_disputed(scores, number=number)
    if order in ("best", "worst"):
        common.sort(key=lambda key: first[key]["iou"], reverse=order == "best")
    return common[:number]


def parse_samples(texts: Sequence[str], models: Mapping[str, Entries]) -> list[Key]:
    """REF:SENTENCE pairs as keys.

    Raises:
        ValueError: not such a pair, or a sample that a file lacks.
    """
    keys = []
    for text in texts:
        ref_id, _, sent_id = text.partition(":")
        if not (ref_id.isdigit() and sent_id.isdigit()):
            raise ValueError(f"--samples {text}: expected REF:SENTENCE, two numbers")
        key = (int(ref_id), int(sent_id))
        lacking = [title for title, entries in models.items() if key not in entries]
        if lacking:
            raise ValueError(f"sample {text} is not in the predictions of {', '.join(lacking)}")
        keys.append(key)
    return keys


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", nargs="+", metavar="[TITLE=]FILE")
    parser.add_argument("--output", required=True, help="picture to write (.png or .pdf)")
    parser.add_argument("--number", type=int, default=12, help="samples on the figure")
    parser.add_argument("--order", default="random", choices=ORDERS)
    parser.add_argument("--samples", nargs="+", metavar="REF:SENTENCE", help="these, by their ids")
    parser.add_argument("--columns", type=int, default=2, help="samples side by side")
    parser.add_argument("--dpi", type=int, default=80, help="pixels an inch, of a .png")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    arguments = parser.parse_args()
    try:
        models = dict(map(read_predictions, arguments.predictions))
        if len(models) < len(arguments.predictions):
            raise ValueError("several files need different titles: TITLE=FILE")
        if arguments.samples:
            keys = parse_samples(arguments.samples, models)
        else:
            rng = np.random.default_rng(arguments.seed)
            keys = choose(list(models.values()), arguments.order, number=arguments.number, rng=rng)
    except (ValueError, OSError) as error:
        raise SystemExit(f"make_figure: {error}") from error
    comparisons = [
        read_comparison({title: entries[key] for title, entries in models.items()}) for key in keys
    ]
    comparison_sheet(comparisons, columns=arguments.columns).savefig(
        arguments.output, dpi=arguments.dpi
    )
    print(f"{len(keys)} samples drawn: {arguments.output}")


if __name__ == "__main__":
    main()
