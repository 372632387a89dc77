"""How far the files that ``export`` writes are from their checkpoint, on a dataset.

    cadformer compare-exports output/quickstart/model_best.pth --dataset synthrs_test

Exports the checkpoint in every form into a temporary folder and gives every form the same samples,
in turns. First table: the largest difference of a probability from PyTorch's, pixels of the masks
that differ, scores at the network's size, as ``evaluate`` gives them, and the median time of an
expression, image included. Second table: the same differences on --pairs samples at every batch
size and number of tokens; expressions are padded or truncated to it.

OMP_NUM_THREADS=1 in the environment gives one thread to PyTorch and onnxruntime alike.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tabulate import tabulate
from tqdm import tqdm

from ..command_errors import at_least_one
from ..data.catalog import load_dataset_records, register_datasets
from ..data.mapper import RefSegMapper
from ..deployment.agreement import Agreement, GraphFunction, compare_functions
from ..deployment.export import ExportOptions, export_model, graph_function
from ..deployment.network_graph import NetworkGraph
from ..deployment.onnx_precision import change_precision
from ..evaluation import ReferringSegmentationEvaluator
from ..exported_model import ONNX_ENDING, PROGRAM_ENDING, Precision
from ..inference.predictor import RefSegPredictor
from ..structures import ReferRecord

CHECKPOINT = "PyTorch"
FORMS: dict[str, tuple[str, Precision]] = {
    "torch.export": (PROGRAM_ENDING, "float32"),
    "ONNX": (ONNX_ENDING, "float32"),
    "ONNX, half": (ONNX_ENDING, "half"),
    "ONNX, int8": (ONNX_ENDING, "int8"),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="of this project, or a folder that export made")
    parser.add_argument("--dataset", required=True, help="a registered dataset: synthrs_test, ...")
    parser.add_argument(
        "--samples", type=at_least_one, help="evenly spread, of the first table; default: all"
    )
    parser.add_argument(
        "--pairs", type=at_least_one, default=48, help="samples of the second; default: %(default)s"
    )
    parser.add_argument("--batch-size", type=at_least_one, nargs="+", default=[1, 3, 8])
    parser.add_argument("--num-tokens", type=at_least_one, nargs="+", default=[5, 20, 64])
    return parser.parse_args()


def spread_evenly(records: list[ReferRecord], count: int | None) -> list[ReferRecord]:
    """At most ``count`` of the records, from the first to the last; None: all."""
    if count is None or count >= len(records):
        return records
    return [records[number] for number in np.linspace(0, len(records) - 1, count).astype(int)]


def write_forms(
    predictor: RefSegPredictor, folder: Path
) -> tuple[dict[str, GraphFunction], dict[str, float]]:
    """The model and its exported forms as functions, and the files' sizes in MB."""
    functions: dict[str, GraphFunction] = {CHECKPOINT: NetworkGraph(predictor.model).eval()}
    megabytes = {}
    for name, (ending, precision) in FORMS.items():
        print(f"exporting {name} ...", file=sys.stderr)
        path = folder / f"{precision}{ending}"
        if precision == "float32":
            export_model(predictor, path, checkpoint="compared", options=ExportOptions())
        else:
            reduce_precision(folder / f"float32{ONNX_ENDING}", path, precision)
        functions[name] = graph_function(path, ending, num_threads=torch.get_num_threads())
        megabytes[name] = path.stat().st_size / 1e6
    return functions, megabytes


def reduce_precision(whole: Path, path: Path, precision: Precision) -> None:
    """Write what ``export`` writes in another precision, without recording the graph again."""
    import onnx  # installed, or there were no file

    path.write_bytes(change_precision(onnx.load(whole), precision).SerializeToString())


class Scorer:
    """Scores each form as ``evaluate`` does."""

    def __init__(self, cfg: CfgNode, dataset: str, names: list[str]):
        self.evaluators = {
            name: ReferringSegmentationEvaluator(
                dataset_name=dataset,
                class_names=MetadataCatalog.get(dataset).thing_classes,
                output_dir=None,
                empty_iou=cfg.TEST.EMPTY_IOU,
                eval_resolution=cfg.TEST.EVAL_RESOLUTION,
            )
            for name in names
        }

    def add(self, name: str, batch: list[Any], probabilities: np.ndarray) -> None:
        outputs = [{"sem_seg": torch.from_numpy(found)} for found in probabilities]
        self.evaluators[name].process(batch, outputs)

    def scores(self, name: str) -> list[float | None]:
        """mIoU and oIoU in percent; None: no sample has a target."""
        (metrics,) = self.evaluators[name].evaluate().values()
        return [metrics.get("mIoU"), metrics.get("oIoU")]


def format_agreement(agreement: Agreement) -> list[str]:
    """Largest difference and differing pixels, as a table shows them."""
    return [
        f"{agreement.largest_difference:.1e}",
        f"{agreement.num_differing} of {agreement.num_pixels}",
    ]


class Comparison:
    """The forms of one checkpoint on one dataset."""

    def __init__(self, checkpoint: str, dataset: str, *, lengths: list[int], folder: Path):
        """
        Args:
            checkpoint: as RefSegPredictor.from_checkpoint takes it.
            dataset: a registered one.
            lengths: of expressions that shall be compared, in tokens.
            folder: for the exported files.

        Raises:
            ValueError: an unknown dataset, or more tokens than the model reads.
        """
        self.dataset = dataset
        self.records = load_dataset_records(dataset)
        predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
        self.cfg = predictor.cfg.clone()
        self.cfg.defrost()
        self.cfg.TEST.EVAL_RESOLUTION = "input"  # what the graphs answer at
        self.lengths = lengths
        if max(lengths) > (most := predictor.tokenizer.max_tokens):
            raise ValueError(f"--num-tokens {max(lengths)}: the model reads at most {most}")
        self.mapper = RefSegMapper(self.cfg, is_train=False)
        self.reads = predictor.model.text_encoder.reads
        self.functions, self.megabytes = write_forms(predictor, folder)

    def read_batches(self, records: list[ReferRecord], size: int) -> Iterator[list[Any]]:
        samples = map(self.mapper, tqdm(records, unit="sample", leave=False))
        while batch := list(islice(samples, size)):
            yield batch

    def table_of_scores(self, count: int | None) -> str:
        """Differences, scores and times, on ``count`` samples one at a time."""
        records = spread_evenly(self.records, count)
        scorer = Scorer(self.cfg, self.dataset, list(self.functions))
        compared = compare_functions(
            self.functions, self.read_batches(records, 1), reads=self.reads, observe=scorer.add
        )
        rows = [
            [
                name,
                self.megabytes.get(name),
                *format_agreement(found),
                *scorer.scores(name),
                1000 * median(found.seconds),
            ]
            for name, found in compared.items()
        ]
        header = ["", "MB", "largest difference", "differing pixels", "mIoU", "oIoU", "ms"]
        threads = torch.get_num_threads()
        caption = f"{len(records)} samples of {self.dataset}, one at a time, {threads} thread(s)"
        formats = ("", ".1f", "", "", ".2f", ".2f", ".1f")
        return f"{caption}:\n\n{tabulate(rows, header, tablefmt='github', floatfmt=formats)}"

    def table_of_shapes(self, count: int, sizes: list[int]) -> str:
        """Differences on ``count`` samples at every batch size and number of tokens."""
        records = spread_evenly(self.records, count)
        rows = []
        for size, tokens in product(sizes, self.lengths):
            batches = self.read_batches(records, size)
            compared = compare_functions(
                self.functions, batches, reads=self.reads, num_tokens=tokens
            )
            rows += [
                [size, tokens, name, *format_agreement(found)]
                for name, found in compared.items()
                if name != CHECKPOINT
            ]
        header = ["batch", "tokens", "", "largest difference", "differing pixels"]
        return f"{len(records)} samples:\n\n{tabulate(rows, header, tablefmt='github')}"


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING)
    register_datasets()
    with TemporaryDirectory() as folder:
        comparison = Comparison(
            arguments.checkpoint,
            arguments.dataset,
            lengths=arguments.num_tokens,
            folder=Path(folder),
        )
        print(comparison.table_of_scores(arguments.samples), end="\n\n", flush=True)
        print(comparison.table_of_shapes(arguments.pairs, arguments.batch_size))
