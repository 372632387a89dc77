"""Train and score several configs over several seeds, and write one table.

    cadformer compare --config-files configs/rrsisd.yaml configs/baselines/lavt_rrsisd.yaml \
        --seeds 1 2 3 --output output/compare
    cadformer compare --checkpoints ours=a.pth ours=b.pth lavt=c.pth --dataset rrsisd_test

The first method is the reference of the paired differences. Calling a killed comparison again
resumes it; a run that fails is reported, and the others continue. Settings shared by all methods,
such as one budget, come from --common FILE.yaml and from KEY VALUE pairs at the end.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..atomic_files import replace_atomically, write_atomically
from ..checkpoint import read_trained_config
from ..command_errors import at_least_one
from ..config import drop_pretrained_weights
from ..data.plain_files import read_json
from ..engine.output_folder import lock_folder
from ..engine.setup import load_config, merge_config
from ..evaluation.comparison import SampleIous, average_seeds, find_most_disputed
from ..evaluation.comparison_table import (
    MethodResult,
    group_rows,
    main_rows,
    mean_name,
    render_table,
)
from ..model_cost import count_flops, count_parameters, random_sample
from ..visualization import draw_comparison_sheet, read_comparison, save_figure
from . import runs
from .diagnostics import DIAGNOSTICS, find_diagnostics

matplotlib.use("Agg")

PAPER = "CADFormer"  # its tables hold its own trainings of the methods it is compared with
PUBLISHED = Path(__file__).parent.parent / "evaluation" / "published_numbers.csv"
SCORING_KEYS = ("TEST.EVAL_RESOLUTION", "TEST.EMPTY_IOU", "INPUT.SIZE")
NUM_TOKENS = 20  # length of the expression for which GFLOPs are counted


@dataclass(frozen=True)
class Run:
    """One model of the comparison."""

    method: str
    folder: Path
    cfg: CfgNode
    dataset: str  # scored on
    weights: Path | None  # of a trained model; None: train it
    diagnostics: dict[str, str]  # those of DIAGNOSTICS that are scored too


@dataclass(frozen=True)
class ScoredRun:
    """A model's results."""

    run: Run
    train_seconds: float | None
    metrics: dict[str, Any]
    samples: list[dict[str, Any]]  # entries of the predictions file
    diagnostics: dict[str, float]  # name of the column -> mIoU or gIoU


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config-files", nargs="+", metavar="FILE", help="methods to train")
    source.add_argument(
        "--checkpoints", nargs="+", metavar="NAME=FILE", help="trained models; a name may repeat"
    )
    parser.add_argument(
        "--common", default="", metavar="FILE", help="config merged over every method to train"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="seeds of every method to train; default: 1"
    )
    parser.add_argument(
        "--dataset", help="dataset to score; default: each config's first DATASETS.TEST"
    )
    parser.add_argument("--output", default="output/compare", help="folder for runs and tables")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs side by side")
    parser.add_argument("--diagnostics", action="store_true", help="also score changed expressions")
    parser.add_argument("--disputed", type=int, default=6, help="samples on the sheet; 0: no sheet")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE for every method")
    arguments = parser.parse_args()
    if arguments.checkpoints and (arguments.common or arguments.seeds):
        parser.error("--common and --seeds are for training; --checkpoints takes KEY VALUE pairs")
    return arguments


def plan_runs(arguments: argparse.Namespace) -> list[Run]:
    """Plan all runs: every method with the first seed, then with the next, and so on.

    Raises:
        ValueError: a config is wrong, a dataset is unknown, two methods share a name, or a name
            lacks its file.
    """
    output = Path(arguments.output)
    planned = []
    variants = DIAGNOSTICS if arguments.diagnostics else {}

    @cache
    def find(dataset: str) -> dict[str, str]:
        return find_diagnostics(dataset) if arguments.diagnostics else {}

    if arguments.checkpoints:
        for number, entry in enumerate(arguments.checkpoints):
            name, _, file = entry.partition("=")
            if not file:
                raise ValueError(f"--checkpoints {entry}: expected NAME=FILE")
            cfg = merge_config(read_trained_config(file), arguments.opts)
            folder = output / name / f"model{number}"
            dataset = runs.resolve_dataset(cfg, arguments.dataset, variants)
            planned.append(Run(name, folder, cfg, dataset, Path(file), find(dataset)))
        return planned
    names = [Path(file).stem for file in arguments.config_files]
    if len(set(names)) < len(names):
        raise ValueError(f"two methods have the same file name: {', '.join(sorted(names))}")
    for seed in arguments.seeds or [1]:
        for name, file in zip(names, arguments.config_files, strict=True):
            folder = output / name / f"seed{seed}"
            own = ("SEED", str(seed), "OUTPUT_DIR", str(folder))
            cfg = load_config(file, [*arguments.opts, *own], common=arguments.common)
            dataset = runs.resolve_dataset(cfg, arguments.dataset, variants)
            planned.append(Run(name, folder, cfg, dataset, None, find(dataset)))
    return planned


def refuse_other_scoring(planned: Sequence[Run]) -> None:
    """Raise ValueError if two runs are scored differently, so that their IoUs cannot be paired."""
    first, *others = planned
    for other in others:
        for key, ours, theirs in zip(
            SCORING_KEYS, _scoring_values(first.cfg), _scoring_values(other.cfg), strict=True
        ):
            if ours != theirs:
                raise ValueError(
                    f"{key} is {ours!r} for {first.method} but {theirs!r} for {other.method}, so "
                    f"their scores cannot be compared; add {key} and one value to the command"
                )


def _scoring_values(cfg: CfgNode) -> tuple[Any, ...]:
    """The values of SCORING_KEYS; the input size matters only if masks are scored at it."""
    at_input = cfg.TEST.EVAL_RESOLUTION == "input"
    return cfg.TEST.EVAL_RESOLUTION, cfg.TEST.EMPTY_IOU, cfg.INPUT.SIZE if at_input else None


def write_config(run: Run) -> None:
    """Write the run's config into its folder; a run to resume must have the same config.

    Raises:
        ValueError: the folder holds a run with other settings.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / runs.RUN_CONFIG
    with replace_atomically(path) as temporary:
        temporary.write_text(run.cfg.dump())
        # Compare both as read from files: nested tuples become lists, new keys get defaults.
        if path.exists() and load_config(str(path)) != load_config(str(temporary)):
            raise ValueError(
                f"{run.folder} holds a run with other settings ({path}); choose another --output, "
                "or delete that folder"
            )


def _score_run(run: Run, arguments: argparse.Namespace) -> ScoredRun:
    """Train the run unless it is trained already, and score it."""
    threads = str(max(1, (os.cpu_count() or 1) // arguments.jobs))
    config = run.folder / runs.RUN_CONFIG
    options: dict[str, Any] = {
        "log": run.folder / "output.txt",
        "environment": {"OMP_NUM_THREADS": threads},
    }
    seconds = None
    weights = run.weights
    if weights is None:
        seconds = runs.train(config, run.folder, **options)
        weights = runs.best_weights(run.folder)
    datasets = [run.dataset, *(f"{run.dataset}_{variant}" for variant in run.diagnostics)]
    metrics, *others = runs.evaluate(
        config, weights, datasets, run.folder, overrides=arguments.opts, **options
    )
    predictions = read_json(run.folder / f"predictions_{run.dataset}.json")
    diagnostics = {
        column: found[mean_name(found)]
        for column, found in zip(run.diagnostics.values(), others, strict=True)
    }
    return ScoredRun(run, seconds, metrics, predictions["samples"], diagnostics)


def _score_runs(planned: Sequence[Run], arguments: argparse.Namespace) -> list[ScoredRun]:
    """Score every run; report those that fail and leave them out."""
    scored = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [pool.submit(_score_run, run, arguments) for run in planned]
        try:
            for number, (run, future) in enumerate(zip(planned, futures, strict=True), start=1):
                progress = f"[{number}/{len(planned)}] {run.folder}"
                try:
                    scored.append(future.result())
                    metrics = scored[-1].metrics
                    name = mean_name(metrics)
                    print(f"{progress}: {name} {metrics[name]:.2f}", flush=True)
                except subprocess.CalledProcessError:
                    print(f"{progress}: FAILED; {run.folder / 'output.txt'} says why", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runs.terminate_running()  # an interrupt may reach this process only
            raise
    return scored


def _sample_ious(samples: Sequence[Mapping[str, Any]]) -> SampleIous:
    return SampleIous(
        keys=[(sample["ref_id"], sample["sent_id"]) for sample in samples],
        image_ids=np.array([sample["image_id"] for sample in samples]),
        iou=np.array([sample["iou"] for sample in samples]),
    )


def _measure_cost(cfg: CfgNode) -> dict[str, float]:
    """Count the parameters, in millions, and GFLOPs of the config's model."""
    cfg = cfg.clone()
    drop_pretrained_weights(cfg)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    flops = count_flops(model, random_sample(cfg, NUM_TOKENS))
    return {
        "parameters (M)": count_parameters(model).total() / 1e6,
        "GFLOPs": flops.total() / 1e9,
    }


def _read_published_numbers(method: str, dataset: str) -> dict[str, float]:
    """Read the published numbers for a config of that name on a dataset.

    Returns:
        percent by metric; a number from elsewhere than CADFormer's paper names its source.
    """
    with PUBLISHED.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["config"], row["dataset"]) == (method, dataset)
        ]
    return {
        row["metric"] + ("" if row["source"].startswith(PAPER) else f" ({row['source']})"): float(
            row["percent"]
        )
        for row in rows
    }


def _collect_results(scored: Sequence[ScoredRun]) -> list[MethodResult]:
    """Group the runs by method, in the order of their first run."""
    by_method: dict[str, list[ScoredRun]] = defaultdict(list)
    for one in scored:
        by_method[one.run.method].append(one)
    results = []
    for name, seeds in by_method.items():
        cost = _measure_cost(seeds[0].run.cfg)
        times = [seed.train_seconds for seed in seeds if seed.train_seconds is not None]
        if times:
            cost["training (s)"] = float(np.mean(times))
        columns = seeds[0].diagnostics
        results.append(
            MethodResult(
                name=name,
                metrics=[seed.metrics for seed in seeds],
                samples=[_sample_ious(seed.samples) for seed in seeds],
                cost=cost,
                published=_read_published_numbers(name, seeds[0].metrics["dataset"]),
                diagnostics={name: [seed.diagnostics[name] for seed in seeds] for name in columns},
            )
        )
    return results


def _write_tables(results: Sequence[MethodResult], output: Path) -> str:
    """Write table.md, table.csv and table.tex, and groups.*; returns the Markdown of both."""
    shown = []
    for name, rows in (("table", main_rows(results)), ("groups", group_rows(results))):
        for form, suffix in (("markdown", "md"), ("csv", "csv"), ("latex", "tex")):
            write_atomically(output / f"{name}.{suffix}", render_table(rows, form))
        shown.append(render_table(rows, "markdown"))
    return "\n".join(shown)


def _draw_disputed(
    scored: Sequence[ScoredRun], results: Sequence[MethodResult], number: int, path: Path
) -> None:
    """Draw the samples on which the methods' first seeds disagree most."""
    first: dict[str, dict[tuple[int, int], dict]] = {}
    for one in scored:
        entries = {(s["ref_id"], s["sent_id"]): s for s in one.samples}
        first.setdefault(one.run.method, entries)
    keys = find_most_disputed([average_seeds(result.samples) for result in results], number=number)
    comparisons = [
        read_comparison({method: entries[key] for method, entries in first.items()}) for key in keys
    ]
    save_figure(draw_comparison_sheet(comparisons, columns=1), path, dpi=80)


def main() -> None:
    arguments = parse_arguments()
    output = Path(arguments.output)
    planned = plan_runs(arguments)
    refuse_other_scoring(planned)
    lock_folder(output)
    for run in planned:
        write_config(run)
    scored = _score_runs(planned, arguments)
    if not scored:
        raise SystemExit("compare: no run succeeded")
    results = _collect_results(scored)
    print("\n" + _write_tables(results, output))
    if arguments.disputed and len(results) > 1:
        sheet = output / "disputed.png"
        _draw_disputed(scored, results, number=arguments.disputed, path=sheet)
    print(f"tables and figures: {output}")
