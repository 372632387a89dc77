"""Measure a config's model: latency, training step, memory, cost by part, share of the peak.

    cadformer benchmark --config-file configs/rrsisd.yaml --output now.json
    cadformer benchmark --config-file configs/rrsisd.yaml --reference
    cadformer benchmark --config-file configs/rrsisd.yaml --work traffic --card h200
    cadformer benchmark --compare before.json now.json

Weights do not matter here: the model starts from random weights and reads only datasets from disk.
FLOPs are multiply-adds, as fvcore counts them.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..atomic_files import write_atomically
from ..benchmark.cards import CARDS
from ..benchmark.components import seconds_by_part
from ..benchmark.memory import measure_kept_for_backward, measure_peak_memory
from ..benchmark.plain_operators import plain_operators
from ..benchmark.report import format_comparison, format_table
from ..benchmark.timing import Timing, measure_peak_bandwidth, measure_peak_flops, time_calls
from ..benchmark.traffic import count_traffic
from ..benchmark.workloads import (
    forward_pass,
    infer_once,
    measure_evaluation_rate,
    measure_loader_rate,
    random_batch,
    train_once,
    training_losses,
    training_step,
)
from ..command_errors import at_least_one
from ..config import drop_pretrained_weights
from ..data.catalog import register_datasets
from ..data.plain_files import read_json
from ..engine.config_checks import refuse_unusable_device
from ..engine.optimizer import build_optimizer
from ..engine.setup import load_config
from ..model_cost import count_flops_by_part, count_parameters, random_sample
from ..precision import DTYPES

TIMED = ("inference", "training")  # against the machine's peak
WORK = ("cost", *TIMED, "memory", "loader", "evaluation", "traffic")
LOADER_BATCHES = 50
TRAFFIC_BATCH, TRAFFIC_DTYPE = 16, "bfloat16"  # of a GPU's training step, unless told otherwise


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="print ratios")
    parser.add_argument("--config-file", default="", metavar="FILE")
    parser.add_argument(
        "--work",
        type=_parse_work,
        default="inference,training",
        metavar="WORK,...",
        help=f"what to measure, of {', '.join(WORK)}; cost is always included and takes no time",
    )
    parser.add_argument(
        "--batch-size", type=at_least_one, help=f"default: 1; for traffic {TRAFFIC_BATCH}"
    )
    parser.add_argument(
        "--num-tokens", type=at_least_one, default=20, help="tokens of an expression"
    )
    parser.add_argument(
        "--dtype", choices=list(DTYPES), help=f"default: float32; for traffic {TRAFFIC_DTYPE}"
    )
    parser.add_argument(
        "--card",
        choices=list(CARDS),
        help="GPU for which --work traffic estimates seconds, without having one; default: h200",
    )
    parser.add_argument("--repeats", type=at_least_one, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile the repeated blocks")
    parser.add_argument(
        "--reference",
        action="store_true",
        help="also time the plain reference operators, in turns with ours",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="write the numbers to this file"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides")
    arguments = parser.parse_args()
    if arguments.compile and (arguments.reference or "memory" in arguments.work):
        parser.error("--compile cannot be combined with --reference or --work memory")
    if "traffic" in arguments.work:
        if set(arguments.work) & {*TIMED, "memory"}:
            parser.error("--work traffic estimates instead of measuring: run it alone")
        if arguments.compile:
            parser.error("--work traffic counts operators as they run uncompiled")
        arguments.card = arguments.card or "h200"
        arguments.batch_size = arguments.batch_size or TRAFFIC_BATCH
        arguments.dtype = arguments.dtype or TRAFFIC_DTYPE
    elif arguments.card:
        parser.error("--card needs --work traffic")
    arguments.batch_size, arguments.dtype = arguments.batch_size or 1, arguments.dtype or "float32"
    return arguments


def _parse_work(text: str) -> list[str]:
    """Split names of WORK at commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in WORK]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(WORK)}")
    return names


def _build_config(arguments: argparse.Namespace) -> CfgNode:
    """Build the config with random weights, on a GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = ["MODEL.DEVICE", device, "TEST.DTYPE", arguments.dtype]
    cfg = load_config(arguments.config_file, [*start, *arguments.opts])
    drop_pretrained_weights(cfg)
    refuse_unusable_device(cfg)
    return cfg


def _time_calls(arguments: argparse.Namespace, model: Any, call: Any) -> dict[str, Timing]:
    """Time a call, and with --reference the same call on plain operators."""
    calls = {"seconds": call}
    if arguments.reference:

        def plain() -> None:
            with plain_operators():
                call()

        calls["seconds of plain operators"] = plain
    return time_calls(calls, device=model.device, repeats=arguments.repeats, warm_up=1)


def _summarize_timings(timings: dict[str, Timing], batch_size: int) -> dict[str, Any]:
    """Convert timings to plain numbers and add the rate and the speed-up over plain operators."""
    result: dict[str, Any] = {name: asdict(timing) for name, timing in timings.items()}
    result["samples a second"] = batch_size / timings["seconds"].median
    if len(timings) > 1:
        plain = timings["seconds of plain operators"].median
        result["plain / ours"] = plain / timings["seconds"].median
    return result


def _run_benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything in --work; returns the numbers by name."""
    torch.manual_seed(0)
    cfg = _build_config(arguments)
    register_datasets()
    model = build_model(cfg)
    batch = random_batch(cfg, batch_size=arguments.batch_size, num_tokens=arguments.num_tokens)
    flops = count_flops_by_part(model, random_sample(cfg, arguments.num_tokens))
    parameters = count_parameters(model)
    if arguments.compile:
        model.compile()
    result: dict[str, Any] = {
        "setting": _describe_setting(arguments, cfg),
        "parameters": {**parameters, "total": sum(parameters.values())},
        "GFLOPs of a sample": {
            **{part: n / 1e9 for part, n in flops.items()},
            "total": sum(flops.values()) / 1e9,
        },
    }
    if set(TIMED) & set(arguments.work):
        peak = measure_peak_flops(model.device, DTYPES[arguments.dtype])
        floor_seconds = sum(flops.values()) * arguments.batch_size / peak
        result["peak"] = {
            "GFLOP/s of a matrix product": peak / 1e9,
            "GB/s of a copy": measure_peak_bandwidth(model.device) / 1e9,
        }
    if "inference" in arguments.work:
        result["inference"] = _measure_inference(arguments, model, batch, floor_seconds)
    if "training" in arguments.work:
        result["training step"] = _measure_training(arguments, cfg, model, batch, floor_seconds)
    if "memory" in arguments.work:
        sizes = (cfg, arguments.batch_size, arguments.num_tokens, arguments.dtype)
        result["peak memory, GB"] = {
            "inference": measure_peak_memory(infer_once, *sizes, device=model.device) / 1e9,
            "training": measure_peak_memory(train_once, *sizes, device=model.device) / 1e9,
        }
        losses = training_losses(model, batch, arguments.dtype)
        result["kept for the backward pass, GB"] = measure_kept_for_backward(model, losses) / 1e9
    if "loader" in arguments.work:
        rate = measure_loader_rate(cfg, num_batches=LOADER_BATCHES)
        result["loader"] = {"samples a second": rate, "workers": cfg.DATALOADER.NUM_WORKERS}
    if "evaluation" in arguments.work:
        result["evaluation"] = {"samples a second": measure_evaluation_rate(cfg, model)}
    if "traffic" in arguments.work:  # last: it discards the weights
        result["traffic"] = count_traffic(
            cfg,
            model,
            card=CARDS[arguments.card],
            batch_size=arguments.batch_size,
            num_tokens=arguments.num_tokens,
            dtype=arguments.dtype,
        )
    return result


def _describe_setting(arguments: argparse.Namespace, cfg: CfgNode) -> dict[str, Any]:
    """Describe what is measured, and on which machine."""
    return {
        **({"card": CARDS[arguments.card].name} if arguments.card else {}),
        "config": arguments.config_file,
        "opts": " ".join(arguments.opts),
        "device": _device_name(torch.device(cfg.MODEL.DEVICE)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": arguments.dtype,
        "batch size": arguments.batch_size,
        "input": "x".join(map(str, cfg.INPUT.SIZE)),
        "compiled": arguments.compile,
    }


def _measure_training(
    arguments: argparse.Namespace,
    cfg: CfgNode,
    model: Any,
    batch: list,
    floor_seconds: float,
) -> dict[str, Any]:
    """Time a training step and compare it with the machine's peak."""
    step = training_step(model, batch, arguments.dtype, build_optimizer(cfg, model))
    result = _summarize_timings(_time_calls(arguments, model, step), arguments.batch_size)
    # The backward pass costs two products for each one of the forward pass.
    result["share of the peak"] = 3 * floor_seconds / result["seconds"]["median"]
    return result


def _measure_inference(
    arguments: argparse.Namespace, model: Any, batch: list, floor_seconds: float
) -> dict[str, Any]:
    """Measure latency, its share of the machine's peak, and seconds by part."""
    call = forward_pass(model, batch, arguments.dtype)
    result: dict[str, Any] = {}
    if arguments.compile:
        start = time_calls({"first": call}, device=model.device, repeats=1, warm_up=0)["first"]
        result["seconds of the first, compiling call"] = start.median
    result |= _summarize_timings(_time_calls(arguments, model, call), arguments.batch_size)
    result["share of the peak"] = floor_seconds / result["seconds"]["median"]
    if not arguments.compile:  # hooks would break the compiled graph
        with seconds_by_part(model, model.device) as seconds:
            for _ in range(arguments.repeats):
                call()
        result["seconds by part"] = {k: v / arguments.repeats for k, v in seconds.items()}
    return result


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU"


def main() -> None:
    arguments = _parse_arguments()
    if arguments.compare:
        first, second = (read_json(Path(name)) for name in arguments.compare)
        print(format_comparison(first, second))
        return
    logging.basicConfig(level=logging.WARNING)
    result = _run_benchmark(arguments)
    print(format_table(result))
    if arguments.output:
        write_atomically(arguments.output, json.dumps(result, indent=1))
