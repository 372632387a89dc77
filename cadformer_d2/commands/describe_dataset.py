"""Describe a dataset: categories by split, expression lengths, target sizes.

    cadformer dataset describe rrsishr --output describe
    cadformer dataset describe --work work --tokenizer ''

Prints Markdown; --output also writes it with a CSV file and a figure. --work describes the boxes
and sentences that `dataset build read` has read, without masks.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

import matplotlib

from ..data.catalog import SPLITS, find_dataset, load_dataset_records, register_datasets
from ..data.refer import EmptySplitError
from ..data.truncation import TOKEN_LIMITS, compute_truncated_shares
from ..dataset_building.description import (
    DescribedExpression,
    describe_records,
    describe_triplets,
    summarise,
)
from ..dataset_building.description_report import format_markdown, write_description
from ..dataset_building.workspace import Workspace


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="of a dataset below the root")
    which.add_argument("--work", type=Path, help="folder of results of 'dataset build'")
    parser.add_argument("--root", help="instead of DETECTRON2_DATASETS")
    parser.add_argument(
        "--tokenizer", default="bert-base-uncased", help="as INPUT.TOKENIZER; '' skips the shares"
    )
    parser.add_argument("--max-tokens", type=int, nargs="+", default=TOKEN_LIMITS)
    parser.add_argument("--output", type=Path, help="folder of the tables and the figure")
    return parser.parse_args()


def _describe(arguments: argparse.Namespace) -> list[DescribedExpression]:
    """Describe every expression of a registered dataset or of a workspace."""
    if arguments.work is not None:
        return describe_triplets(Workspace(arguments.work).read_triplets())
    info = find_dataset(arguments.name, arguments.root)
    register_datasets(arguments.root, lenient=True)
    sentences = []
    for split in SPLITS:
        with suppress(EmptySplitError):
            records = load_dataset_records(f"{info.name}_{split}_sentences")
            sentences += describe_records(records, split, info.classes)
    return sentences


def main() -> None:
    matplotlib.use("Agg")
    arguments = _parse_arguments()
    sentences = _describe(arguments)
    truncated = {}
    if arguments.tokenizer:
        texts = [entry.sentence for entry in sentences]
        truncated = compute_truncated_shares(texts, arguments.tokenizer, arguments.max_tokens)
    summary, name = summarise(sentences), arguments.name or str(arguments.work)
    print(format_markdown(name, summary, truncated))
    if arguments.output is not None:
        write_description(arguments.output, name, summary, truncated)
