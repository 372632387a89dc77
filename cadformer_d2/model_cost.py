"""What a model costs: parameters and multiply-adds by component."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import torch
from detectron2.config import CfgNode
from fvcore.nn import FlopCountAnalysis
from torch import nn

from .structures import ModelInput

OWN_WORK = "upsampling, masks"  # what the model does outside its components
SMALLEST_VOCABULARY = 40  # token ids that every text encoder has rows for


def random_sample(cfg: CfgNode, num_tokens: int) -> ModelInput:
    """A sample of noise at the configured input size, for measuring.

    Args:
        num_tokens: tokens of its expression.
    """
    height, width = cfg.INPUT.SIZE
    return {
        "image": torch.rand(3, height, width) * 255,
        "input_ids": torch.randint(5, SMALLEST_VOCABULARY, (num_tokens,)),
        "attention_mask": torch.ones(num_tokens, dtype=torch.int64),
        "is_object": torch.arange(num_tokens) < num_tokens // 2,
        "is_position": torch.ones(num_tokens, dtype=torch.bool),
        "expression": "",
        "height": height,
        "width": width,
        "file_name": "",
        "image_id": 0,
        "ref_id": 0,
        "sent_id": 0,
        "category_id": 0,
        "gt_mask": torch.rand(height, width) > 0.9,
    }


def count_parameters(model: nn.Module) -> Counter[str]:
    """Count parameters by component; the backbone's alignments count separately."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[_component_name(name)] += parameter.numel()
    return counts


def count_flops(model: nn.Module, sample: ModelInput) -> Counter[str]:
    """Count the multiply-adds of one evaluation forward pass by component, as fvcore does."""
    by_module = _analyze_flops(model, sample).by_module()
    counts = Counter({name: by_module[name] for name, _ in model.named_children()})
    for name, _ in model.named_modules():
        if _is_alignment_stage(name):
            counts["alignment"] += by_module[name]
            counts["backbone"] -= by_module[name]
    return counts


def _analyze_flops(model: nn.Module, sample: ModelInput) -> FlopCountAnalysis:
    """Run fvcore's count on one forward pass in evaluation mode, fused attention included."""
    analysis = FlopCountAnalysis(model.eval(), ([sample],))
    analysis.set_op_handle("aten::scaled_dot_product_attention", _count_attention_flops)
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


def count_flops_by_part(model: nn.Module, sample: ModelInput) -> Counter[str]:
    """As ``count_flops``, by the finer parts that ``part_name`` names."""
    counts: Counter[str] = Counter()
    analysis = _analyze_flops(model, sample)
    for name, flops in analysis.by_module().items():
        counts[part_name(model, name)] += flops - sum(
            analysis.by_module()[child] for child in _child_names(model, name)
        )
    return counts


def _child_names(model: nn.Module, name: str) -> list[str]:
    """Full names of a module's direct children."""
    children = model.get_submodule(name).named_children()
    return [f"{name}.{child}" if name else child for child, _ in children]


def part_name(model: nn.Module, name: str) -> str:
    """Name of the part, finer than a component, to which a module belongs.

    A component lists its parts in the attribute ``parts``: patterns of module names and their
    labels; the first pattern that matches wins. A component without the attribute is one part.
    """
    component, _, rest = name.partition(".")
    if not component:
        return OWN_WORK
    parts = getattr(getattr(model, component), "parts", {"": component})
    return next(label for pattern, label in parts.items() if re.match(pattern, rest))


def _component_name(name: str) -> str:
    """Component to which a module or parameter belongs."""
    head, _, rest = name.partition(".")
    return "alignment" if head == "backbone" and rest.startswith("alignments") else head


def _is_alignment_stage(name: str) -> bool:
    return name.startswith("backbone.alignments.") and name.count(".") == 2


def _count_attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the multiply-adds of fused attention, which fvcore does not know: Q K^T and A U."""
    (*batch, queries, dim), (*_, keys, _) = (value.type().sizes() for value in inputs[:2])
    return int(torch.tensor(batch).prod()) * queries * keys * dim * 2
