#!/usr/bin/env python3
"""Print what a config builds: parameters and FLOPs by component, one forward pass, one step.

    python tools/analyze_model.py --config-file configs/rrsisd.yaml

Weights do not matter here: the model starts at random and nothing is read from disk.
"""

from __future__ import annotations

import argparse
import time

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tabulate import tabulate
from torch import nn

from cadformer_d2.command_errors import at_least_one, run_command
from cadformer_d2.config import start_at_random
from cadformer_d2.engine.config_checks import refuse_unusable_device
from cadformer_d2.engine.setup import load_config
from cadformer_d2.model_cost import count_flops, count_parameters, random_sample
from cadformer_d2.structures import ModelInput


def parse_config() -> tuple[CfgNode, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default="", metavar="FILE")
    parser.add_argument("--num-tokens", type=at_least_one, default=20, help="word pieces")
    parser.add_argument("--batch-size", type=at_least_one, default=2, help="of the training step")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cfg = load_config(arguments.config_file, ["MODEL.DEVICE", device, *arguments.opts])
    start_at_random(cfg)
    refuse_unusable_device(cfg)
    return cfg, arguments


def timed_forward(model: nn.Module, sample: ModelInput) -> float:
    """Seconds of one forward pass in evaluation, after one to warm up."""
    model.eval()
    with torch.no_grad():
        model([sample])
        start = time.perf_counter()
        model([sample])
    return time.perf_counter() - start


def timed_step(model: nn.Module, batch: list[ModelInput]) -> tuple[float, list[str]]:
    """Seconds of one forward and backward pass, and the parameters it left without gradient."""
    model.train()
    start = time.perf_counter()
    sum(model(batch).values()).backward()
    seconds = time.perf_counter() - start
    return seconds, [name for name, p in model.named_parameters() if p.grad is None]


def main() -> None:
    cfg, arguments = parse_config()
    torch.manual_seed(0)
    model = build_model(cfg)
    sample = random_sample(cfg, arguments.num_tokens)
    parameters, flops = count_parameters(model), count_flops(model, sample)
    rows = [[name, parameters[name], flops[name] / 1e9] for name in flops]
    rows.append(["total", sum(parameters.values()), sum(flops.values()) / 1e9])
    print(tabulate(rows, ["component", "parameters", "GFLOPs"], intfmt=",", floatfmt=".1f"))
    height, width = cfg.INPUT.SIZE
    print(
        f"\nGFLOPs: billions of multiply-adds, one {height} x {width} image, "
        f"{arguments.num_tokens} tokens"
    )
    print(f"forward pass, batch 1, {cfg.MODEL.DEVICE}: {timed_forward(model, sample):.2f} s")
    batch = [random_sample(cfg, arguments.num_tokens) for _ in range(arguments.batch_size)]
    seconds, without_gradient = timed_step(model, batch)
    print(f"training step without optimiser, batch {arguments.batch_size}: {seconds:.2f} s")
    print(f"parameters without a gradient: {', '.join(without_gradient) or 'none'}")


if __name__ == "__main__":
    run_command(main)
