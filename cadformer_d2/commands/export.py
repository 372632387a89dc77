"""Make a folder in Hugging Face's layout from a checkpoint, to keep, share and use like one.

    cadformer export output/rrsisd/model_best.pth cadformer_rrsisd \
        --metrics output/rrsisd/metrics_rrsisd_test.json --notes about.md

Parameters are rounded to half precision; a text encoder that is still what a pip package carries is
named, not stored. README.md is a model card: what the config says, the numbers of --metrics, and
--notes, Markdown about data, licence and limits.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from ..inference import RefSegPredictor
from ..inference.model_card import model_card
from ..pretrained_folder import CARD_FILE, refuse_existing_folder

LARGEST = 30e6  # bytes, of what goes into a repository without Git LFS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="of this project, or a folder as this command makes")
    parser.add_argument("folder", type=Path, help="to make; must not exist, or be empty")
    parser.add_argument(
        "--metrics", nargs="+", type=Path, default=[], help="metrics_*.json of evaluations"
    )
    parser.add_argument("--notes", type=Path, help="Markdown about data, licence and limits")
    parser.add_argument("--licence", default="other", help="as Hugging Face names licences")
    return parser.parse_args()


def read_metrics(files: list[Path]) -> dict[str, dict[str, Any]]:
    """Contents of metrics files, by dataset.

    Raises:
        ValueError: not a file that an evaluation writes.
        FileNotFoundError: no such file.
    """
    metrics = {}
    for file in files:
        try:
            content = json.loads(file.read_text())
            metrics[content["dataset"]] = content
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no metrics_*.json of an evaluation") from error
    return metrics


def without_comments(notes: str) -> str:
    """Markdown without <!-- what is for its editors -->."""
    return re.sub(r"<!--.*?-->\s*", "", notes, flags=re.DOTALL)


def main() -> None:
    arguments = parse_arguments()
    refuse_existing_folder(arguments.folder)
    metrics = read_metrics(arguments.metrics)
    notes = without_comments(arguments.notes.read_text()) if arguments.notes else ""
    predictor = RefSegPredictor.from_checkpoint(arguments.checkpoint, device="cpu")
    card = model_card(
        predictor.portable_config(),
        predictor.model,
        name=arguments.folder.name,
        metrics=metrics,
        notes=notes,
        licence=arguments.licence,
    )
    predictor.save_pretrained(arguments.folder, card=card)
    size = sum(file.stat().st_size for file in arguments.folder.iterdir())
    print(f"{arguments.folder}: {size / 1e6:.1f} MB; {CARD_FILE} is its model card")
    if size > LARGEST:
        print(f"larger than {LARGEST / 1e6:.0f} MB: Git needs Git LFS for it")
