r"""Draw a figure of predictions: image | ground truth | one column per model with its IoU.

    cadformer figure output/quickstart/predictions_synthrs_test.json --output sheet.png
    cadformer figure ours=a/predictions_rrsisd_test.json lavt=b/model_best.pth \
        --dataset rrsisd_test --order disputed --number 6 --columns 1 --output figure.pdf

Every evaluation writes a predictions file. A checkpoint is evaluated first; its predictions are
cached in <output>.predictions.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..atomic_files import write_atomically
from ..checkpoint import read_trained_config
from ..evaluation.comparison import SampleIous, find_most_disputed
from ..visualization import draw_comparison_sheet, read_comparison, save_figure
from . import runs

matplotlib.use("Agg")

ORDERS = ("random", "best", "worst", "first", "disputed")
FORMATS = (".png", ".pdf")
Key = tuple[int, int]  # ref id, sentence id
Entries = dict[Key, dict[str, Any]]  # of one predictions file


class EncodedMask(BaseModel):
    """COCO's compressed run lengths."""

    size: tuple[int, int]  # height, width
    counts: str


class Sample(BaseModel):
    """An entry of a predictions file, as far as figures need it."""

    ref_id: int
    sent_id: int
    image_id: int | str
    iou: float = Field(ge=0, le=1)
    file_name: str
    expression: str
    target: EncodedMask
    prediction: EncodedMask


class PredictionsFile(BaseModel):
    samples: list[Sample]


def split_title(argument: str) -> tuple[str, Path]:
    """Split FILE or TITLE=FILE into title and file; both may contain an equals sign."""
    if Path(argument).exists():
        return "prediction", Path(argument)
    parts = argument.split("=")
    ways = [("=".join(parts[:n]), Path("=".join(parts[n:]))) for n in range(1, len(parts))]
    named = [(title, file) for title, file in ways if title]
    existing = [(title, file) for title, file in named if file.exists()]
    return (existing or named or [("prediction", Path(argument))])[0]


def read_predictions(path: Path) -> Entries:
    """Samples of a predictions file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a predictions file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run an evaluation to write it")
    try:
        samples = PredictionsFile.model_validate_json(path.read_bytes()).samples
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{path} is not a predictions file of an evaluation: {place}: {first['msg']}"
        ) from error
    return {(sample.ref_id, sample.sent_id): sample.model_dump() for sample in samples}


def _evaluate_checkpoint(weights: Path, dataset: str | None, folder: Path) -> Path:
    """Evaluate a checkpoint unless that is done already; return its predictions file.

    Args:
        dataset: its name; None: the first of the checkpoint's DATASETS.TEST.
        folder: where the predictions go.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: not a checkpoint of this project, or no dataset to evaluate it on.
        subprocess.CalledProcessError: the evaluation failed and reported why.
    """
    cfg = read_trained_config(weights)
    dataset = runs.resolve_dataset(cfg, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / runs.RUN_CONFIG
    write_atomically(config, cfg.dump())
    runs.evaluate(config, weights, (dataset,), folder)
    return folder / f"predictions_{dataset}.json"


def _read_models(arguments: argparse.Namespace) -> dict[str, Entries]:
    """Read the samples of every column, by its title."""
    models = {}
    for title, path in map(split_title, arguments.predictions):
        if title in models:
            raise ValueError("each of several files needs its own title: TITLE=FILE")
        if not title.isprintable():
            raise ValueError(f"the title {title!r} has a character that cannot be drawn")
        if path.suffix == ".pth" or path.is_dir():
            if "/" in title or not title.strip("."):
                raise ValueError(f"{title}={path}: the title names a folder; write it without /")
            folder = Path(f"{arguments.output}.predictions") / title
            path = _evaluate_checkpoint(path, arguments.dataset, folder)
        models[title] = read_predictions(path)
    return models


def choose_samples(
    models: Sequence[Entries], order: str, *, number: int, rng: np.random.Generator
) -> list[Key]:
    """Choose the samples to draw among those in all files; best and worst refer to the first model.

    Raises:
        ValueError: the files share no sample, or a single model is asked for disputed samples.
    """
    if order == "disputed" and len(models) < 2:
        raise ValueError("--order disputed needs two files or more")
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
        return find_most_disputed(scores, number=number)
    if order in ("best", "worst"):
        common.sort(key=lambda key: first[key]["iou"], reverse=order == "best")
    return common[:number]


def _parse_samples(texts: Sequence[str], models: Mapping[str, Entries]) -> list[Key]:
    """Parse REF:SENTENCE pairs as keys.

    Raises:
        ValueError: not such a pair, or a sample missing from a file.
    """
    keys = []
    for text in texts:
        ref_id, _, sent_id = text.partition(":")
        if not (ref_id.isdecimal() and sent_id.isdecimal()):
            raise ValueError(f"--samples {text}: expected REF:SENTENCE, two numbers")
        key = (int(ref_id), int(sent_id))
        lacking = [title for title, entries in models.items() if key not in entries]
        if lacking:
            raise ValueError(f"sample {text} is not in the predictions of {', '.join(lacking)}")
        keys.append(key)
    return keys


def _positive_int(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number above 0")
    return int(text)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "predictions", nargs="+", metavar="[TITLE=]FILE", help="predictions (.json) or .pth"
    )
    parser.add_argument(
        "--dataset", help="dataset on which to evaluate checkpoints; default: their own"
    )
    parser.add_argument("--output", required=True, type=Path, help="figure to write (.png or .pdf)")
    parser.add_argument("--number", type=_positive_int, default=12, help="samples on the figure")
    parser.add_argument("--order", default="random", choices=ORDERS)
    parser.add_argument("--samples", nargs="+", metavar="REF:SENTENCE", help="draw these samples")
    parser.add_argument("--columns", type=_positive_int, default=2, help="samples side by side")
    parser.add_argument(
        "--dpi", type=_positive_int, default=80, help="resolution of a .png, pixels per inch"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice")
    return parser.parse_args()


def _draw_figure(arguments: argparse.Namespace) -> int:
    """Write the figure; returns the number of samples on it.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: the figure could not be written.
        ValueError: a file is unusable, or there is no such sample.
        subprocess.CalledProcessError: an evaluation failed and reported why.
    """
    output = arguments.output
    if output.suffix.lower() not in FORMATS:
        raise ValueError(f"--output {output}: expected a name that ends in {' or '.join(FORMATS)}")
    models = _read_models(arguments)
    if arguments.samples:
        keys = _parse_samples(arguments.samples, models)
    else:
        rng = np.random.default_rng(arguments.seed)
        keys = choose_samples(
            list(models.values()), arguments.order, number=arguments.number, rng=rng
        )
    chosen = [{title: entries[key] for title, entries in models.items()} for key in keys]
    for entries in chosen:
        for entry in entries.values():
            if Path(entry["file_name"]).resolve() == output.resolve():
                raise ValueError(f"--output {output} is an image of the dataset; name another file")
    comparisons = [read_comparison(entries) for entries in chosen]
    sheet = draw_comparison_sheet(comparisons, columns=arguments.columns)
    save_figure(sheet, output, dpi=arguments.dpi)
    return len(keys)


def main() -> None:
    arguments = _parse_arguments()
    try:
        number_drawn = _draw_figure(arguments)
    except subprocess.CalledProcessError as error:  # the evaluation has reported why
        sys.exit(error.returncode)
    print(f"{number_drawn} samples drawn: {arguments.output}")
