"""Verify a downloaded dataset before training on it.

    cadformer dataset check rrsisd
    cadformer dataset check rrsisd --root some/sample --subset

Checks that the files are there, that the counts are the published ones, that every image opens and
has the size its annotation says, and that every mask is non-empty and of that size; tells which
share of the sentences a token limit cuts. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import logging

from tabulate import tabulate
from tqdm import tqdm

from ..data.catalog import SPLITS, DatasetInfo, dataset_root, find_dataset
from ..data.mapper import read_record_image
from ..data.refer import EmptySplitError
from ..data.truncation import TOKEN_LIMITS, compute_truncated_shares
from ..structures import ReferRecord


def parse_arguments() -> argparse.Namespace:
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


def load_split(info: DatasetInfo, root: str | None, split: str, subset: bool) -> tuple:
    """Usable records of a split, and what is wrong with it."""
    try:
        records = info.load(dataset_root(root), split, True)
    except EmptySplitError as error:
        return [], [] if subset else [str(error)]
    except (ValueError, OSError) as error:
        return [], [str(error)]
    published = info.published_counts.get(split)
    if not subset and published not in (None, len(records)):
        return records, [f"{split}: {len(records)} usable refs, published are {published}"]
    return records, []


def image_defects(records: list[ReferRecord], split: str) -> list[str]:
    """Images that do not open or have another size than their annotation says."""
    defects = []
    by_file = {record["file_name"]: record for record in records}
    for record in tqdm(by_file.values(), desc=f"{split} images", unit="image"):
        try:
            read_record_image(record, "RGB")
        except ValueError as error:
            defects.append(str(error))
    return defects


def share_texts(expressions: list[str], vocabulary: str) -> list[str]:
    """Share of the sentences that each of ``TOKEN_LIMITS`` cuts; "-" without a vocabulary."""
    if not vocabulary:
        return ["-"] * len(TOKEN_LIMITS)
    try:
        shares = compute_truncated_shares(expressions, vocabulary)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; or pass --tokenizer ''") from error
    return [f"{share:.1%}" for share in shares.values()]


class SkippedRecords(logging.Handler):
    """Collects, as a context, the reader's reports of records it could not use."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> SkippedRecords:
        logging.getLogger("cadformer_d2").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("cadformer_d2").removeHandler(self)


def main() -> None:
    arguments = parse_arguments()
    info = find_dataset(arguments.name, arguments.root)
    defects: list[str] = []
    rows = []
    with SkippedRecords() as skipped:
        for split in SPLITS:
            records, found = load_split(info, arguments.root, split, arguments.subset)
            defects += found + image_defects(records, split)
            if records:
                rows.append([split, *split_counts(records, arguments.tokenizer)])
    defects += skipped.messages
    header = ["split", "refs", "sentences", "images"]
    print(tabulate(rows, [*header, *(f"cut at {limit} tokens" for limit in TOKEN_LIMITS)]))
    for defect in defects:
        print(f"DEFECT  {defect}")
    if defects or not rows:
        raise SystemExit(f"{arguments.name}: {max(1, len(defects))} defects")
    print(f"{arguments.name}: no defects")


def split_counts(records: list[ReferRecord], vocabulary: str) -> list[int | str]:
    """Refs, sentences and images of a split, and the shares that token limits cut."""
    sentences = [text for record in records for text in record["expressions"]]
    images = len({record["file_name"] for record in records})
    return [len(records), len(sentences), images, *share_texts(sentences, vocabulary)]
