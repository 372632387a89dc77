"""Export a checkpoint: as a folder to keep and share, or as one file that answers without PyTorch.

    cadformer export output/rrsisd/model_best.pth cadformer_rrsisd \
        --metrics output/rrsisd/metrics_rrsisd_test.json --notes about.md
    cadformer export output/rrsisd/model_best.pth cadformer_rrsisd.onnx

The ending decides.

A folder is in Hugging Face's layout. Parameters are rounded to half precision; a text encoder that
is still what a pip package carries is named, not stored. README.md is a model card: what the config
says, the numbers of --metrics, and --notes, Markdown about data, licence and limits.

A .onnx file is for onnxruntime, a .pt2 file for torch.export.load. Normalisation and softmax are
inside, and so are the tokenizer, sizes and channel order, as metadata. With --expression, the file
answers this one alone, and the QGIS plugin Deepness reads it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from ..command_errors import at_least_one
from ..deployment.export import ENDINGS, ExportOptions, export_model, refuse_impossible_export
from ..exported_model import Precision
from ..inference.model_card import model_card
from ..inference.predictor import RefSegPredictor
from ..pretrained_folder import CARD_FILE, refuse_existing_folder, weights_hash

LARGEST = 30e6  # bytes, of what goes into a repository without Git LFS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="of this project, or a folder as this command makes")
    parser.add_argument(
        "output", type=Path, help="file.onnx, file.pt2, or a folder that does not exist or is empty"
    )
    parser.add_argument("--licence", default="other", help="as Hugging Face names licences")
    folder = parser.add_argument_group("a folder")
    folder.add_argument(
        "--metrics", nargs="+", type=Path, default=[], help="metrics_*.json of evaluations"
    )
    folder.add_argument("--notes", type=Path, help="Markdown about data, licence and limits")
    file = parser.add_argument_group("one file")
    smaller = file.add_mutually_exclusive_group()
    smaller.add_argument(
        "--half", action="store_true", help="store weights in half precision: half the bytes"
    )
    smaller.add_argument(
        "--int8", action="store_true", help="8-bit matrix products (onnxruntime's dynamic ones)"
    )
    file.add_argument(
        "--size", nargs=2, type=at_least_one, metavar=("HEIGHT", "WIDTH"), help="of its images"
    )
    file.add_argument("--expression", default="", help="that it shall answer, and no other")
    file.add_argument("--resolution", type=float, help="metres on the ground a pixel, for Deepness")
    arguments = parser.parse_args()
    arguments.is_file = arguments.output.suffix in ENDINGS
    of_a_folder = (*arguments.metrics, arguments.notes)
    precision: Precision = "half" if arguments.half else "int8" if arguments.int8 else "float32"
    arguments.options = ExportOptions(
        size=tuple(arguments.size) if arguments.size else None,
        precision=precision,
        expression=arguments.expression,
        licence=arguments.licence,
        metres=arguments.resolution,
    )
    if arguments.is_file and any(of_a_folder):
        parser.error("--metrics and --notes are of a folder's model card")
    if not arguments.is_file and arguments.options != ExportOptions(licence=arguments.licence):
        parser.error("--half, --int8, --size, --expression and --resolution are of one file")
    return arguments


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


def export_file(arguments: argparse.Namespace) -> None:
    """Write one file, and say how far its answers are from the checkpoint's."""
    refuse_impossible_export(arguments.output, arguments.options)
    predictor = RefSegPredictor.from_checkpoint(arguments.checkpoint, device="cpu")
    difference = export_model(
        predictor,
        arguments.output,
        checkpoint=weights_hash(arguments.checkpoint),
        options=arguments.options,
    )
    size = arguments.output.stat().st_size / 1e6
    print(
        f"{arguments.output}: {size:.1f} MB; probabilities differ by at most {difference:.1g} from "
        "PyTorch's on noise"
    )


def export_folder(arguments: argparse.Namespace) -> None:
    """Write a folder with its model card."""
    refuse_existing_folder(arguments.output)
    metrics = read_metrics(arguments.metrics)
    notes = without_comments(arguments.notes.read_text()) if arguments.notes else ""
    predictor = RefSegPredictor.from_checkpoint(arguments.checkpoint, device="cpu")
    card = model_card(
        predictor.portable_config(),
        predictor.model,
        name=arguments.output.name,
        metrics=metrics,
        notes=notes,
        licence=arguments.licence,
    )
    predictor.save_pretrained(arguments.output, card=card)
    size = sum(file.stat().st_size for file in arguments.output.iterdir())
    print(f"{arguments.output}: {size / 1e6:.1f} MB; {CARD_FILE} is its model card")
    if size > LARGEST:
        print(f"larger than {LARGEST / 1e6:.0f} MB: Git needs Git LFS for it")


def main() -> None:
    arguments = parse_arguments()
    if arguments.is_file:
        export_file(arguments)
    else:
        export_folder(arguments)
