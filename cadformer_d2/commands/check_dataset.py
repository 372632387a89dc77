"""Verify a downloaded dataset before training on it.

    cadformer dataset check rrsisd
    cadformer dataset check rrsisd --root some/sample --subset

Checks that the files exist, that the counts are the published ones, that every image opens and has
the size that its annotation says, and that every mask is non-empty and of that size. Reports the
share of the expressions that a token limit truncates. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import logging

from tabulate import tabulate
from tqdm import tqdm

from ..data.catalog import SPLITS, DatasetInfo, dataset_root, find_dataset
from ..data.mapper import read_record_image
from ..data.refer import EmptySplitError
from ..data.target_counts import count_by_targets
from ..data.truncation import TOKEN_LIMITS, compute_truncated_shares
from ..structures import ReferRecord


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a dataset below the root")
    parser.add_argument("--root", help="instead of DETECTRON2_DATASETS")
    parser.add_argument(
        "--subset", action="store_true", help="do not compare with published counts"
    )
    parser.add_argument(
        "--tokenizer", default="bert-base-uncased", help="as INPUT.TOKENIZER; '' skips the shares"
    )
    return parser.parse_args()


def _load_split(info: DatasetInfo, root: str | None, split: str, subset: bool) -> tuple:
    """Load the usable records of a split, and its defects."""
    try:
        records = info.load(dataset_root(root), split, True)
    except EmptySplitError as error:
        return [], [] if subset else [str(error)]
    except (ValueError, OSError) as error:
        return [], [str(error)]
    published = info.published_counts.get(split)
    if not subset and published not in (None, len(records)):
        return records, [f"{split}: {len(records)} usable refs instead of {published} published"]
    return records, []


def _find_image_defects(records: list[ReferRecord], split: str) -> list[str]:
    """Find images that do not open or do not have the size of their annotation."""
    defects = []
    by_file = {record["file_name"]: record for record in records}
    for record in tqdm(by_file.values(), desc=f"{split} images", unit="image"):
        try:
            read_record_image(record, "RGB")
        except ValueError as error:
            defects.append(str(error))
    return defects


def _format_shares(expressions: list[str], vocabulary: str) -> list[str]:
    """Format the share that each token limit truncates; "-" without a vocabulary."""
    if not vocabulary:
        return ["-"] * len(TOKEN_LIMITS)
    try:
        shares = compute_truncated_shares(expressions, vocabulary)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; or pass --tokenizer ''") from error
    return [f"{share:.1%}" for share in shares.values()]


class _SkippedRecords(logging.Handler):
    """Context that collects the reader's warnings about unusable records."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> _SkippedRecords:
        logging.getLogger("cadformer_d2").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("cadformer_d2").removeHandler(self)


def main() -> None:
    arguments = _parse_arguments()
    info = find_dataset(arguments.name, arguments.root)
    defects: list[str] = []
    rows = []
    with _SkippedRecords() as skipped:
        for split in SPLITS:
            records, found = _load_split(info, arguments.root, split, arguments.subset)
            defects += found + _find_image_defects(records, split)
            if records:
                rows.append(
                    {"split": split, **_count_split(records, arguments.tokenizer, info.any_targets)}
                )
    defects += skipped.messages
    print(tabulate(rows, headers="keys"))
    for defect in defects:
        print(f"DEFECT  {defect}")
    if defects or not rows:
        raise SystemExit(f"{arguments.name}: {max(1, len(defects))} defects")
    print(f"{arguments.name}: no defects")


def _count_split(
    records: list[ReferRecord], vocabulary: str, any_targets: bool
) -> dict[str, int | str]:
    """Count refs, expressions and images of a split, and the shares that token limits truncate."""
    sentences = [text for record in records for text in record["expressions"]]
    by_targets = count_by_targets(len(record["annotations"]) for record in records)
    names = [f"truncated at {limit} tokens" for limit in TOKEN_LIMITS]
    return {
        "refs": len(records),
        **(by_targets if any_targets else {}),
        "sentences": len(sentences),
        "images": len({record["file_name"] for record in records}),
        **dict(zip(names, _format_shares(sentences, vocabulary), strict=True)),
    }
