#!/usr/bin/env python3
"""Print what a config builds: parameters and FLOPs by component, one forward pass, one step.

    python tools/analyze_model.py --config-file configs/rrsisd.yaml

Weights do not matter here: the model starts at random and nothing is read from disk.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from tabulate import tabulate
from torch import nn

from cadformer_d2.engine.setup import load_config
from cadformer_d2.structures import ModelInput


def parse_config() -> tuple[CfgNode, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default="", metavar="FILE")
    parser.add_argument("--num-tokens", type=int, default=20, help="word pieces of the sentence")
    parser.add_argument("--batch-size", type=int, default=2, help="of the training step")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = ["MODEL.TEXT_ENCODER.WEIGHTS", "", "MODEL.DEVICE", device]
    return load_config(arguments.config_file, [*start, *arguments.opts]), arguments


def random_sample(cfg: CfgNode, num_tokens: int) -> ModelInput:
    """A sample of noise at the configured input size."""
    height, width = cfg.INPUT.SIZE
    return {
        "image": torch.rand(3, height, width) * 255,
        "input_ids": torch.randint(5, cfg.MODEL.TEXT_ENCODER.VOCAB_SIZE, (num_tokens,)),
        "attention_mask": torch.ones(num_tokens, dtype=torch.int64),
        "height": height,
        "width": width,
        "gt_mask": torch.rand(height, width) > 0.9,
    }


def component_of(name: str) -> str:
    """Component a module or parameter belongs to: the backbone's alignments stand apart."""
    head, _, rest = name.partition(".")
    return "alignment" if head == "backbone" and rest.startswith("alignments") else head


def is_alignment_stage(name: str) -> bool:
    return name.startswith("backbone.alignments.") and name.count(".") == 2


def count_parameters(model: nn.Module) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[component_of(name)] += parameter.numel()
    return counts


def scaled_attention_flops(inputs: list, outputs: list) -> int:
    """Multiply-adds of fused attention, which fvcore does not know: Q K^T and A U."""
    (*batch, queries, dim), (*_, keys, _) = (value.type().sizes() for value in inputs[:2])
    return int(torch.tensor(batch).prod()) * queries * keys * dim * 2


def count_flops(model: nn.Module, sample: ModelInput) -> Counter[str]:
    """Multiply-adds of one forward pass by component (fvcore's convention)."""
    analysis = FlopCountAnalysis(model.eval(), ([sample],))
    analysis.set_op_handle("aten::scaled_dot_product_attention", scaled_attention_flops)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts: Counter[str] = Counter()
    by_module = analysis.by_module()
    for name in dict(model.named_children()):
        counts[name] += by_module[name]
    alignments = sum(
        by_module[name] for name, _ in model.named_modules() if is_alignment_stage(name)
    )
    counts["alignment"] = alignments
    counts["backbone"] -= alignments
    return counts


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
    main()
