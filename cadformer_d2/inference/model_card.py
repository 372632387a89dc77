"""The README.md of a model's folder: what it is, how to use it, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from torch import nn

FRONT_MATTER = """---
library_name: cadformer_d2
pipeline_tag: image-segmentation
tags: [remote-sensing, referring-image-segmentation, cadformer]
license: {licence}
---
"""
TO_WRITE = """## Data and licence

(To be written: the data it was trained on, who made them, and what they allow.)

## Limits

(To be written: what it was not trained for, and where it is wrong.)
"""
NUMBERS = ("mIoU", "oIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9")


def model_card(
    cfg: CfgNode,
    model: nn.Module,
    *,
    name: str,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    notes: str = "",
    licence: str = "other",
) -> str:
    """A card that says what the config says, and no number that was not measured.

    Args:
        model: its parameters are counted.
        name: of the folder.
        metrics: contents of ``metrics_<dataset>.json``, by dataset; None: no number is written.
        notes: sections about data, licence and limits; "": gaps to fill in.
        licence: as Hugging Face names licences.
    """
    sections = [
        FRONT_MATTER.format(licence=licence),
        f"# {name}\n\n{_description(cfg, model)}",
        f"## Use\n\n{_usage(name)}",
        f"## Numbers\n\n{_numbers(name, metrics or {})}",
        notes.strip() or TO_WRITE.strip(),
    ]
    return "\n".join(f"{section.strip()}\n" for section in sections)


def _description(cfg: CfgNode, model: nn.Module) -> str:
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    trained = ", ".join(cfg.DATASETS.TRAIN) or "no dataset that its config names"
    height, width = cfg.INPUT.SIZE
    backbone, text = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TEXT_ENCODER
    network = f" ({cfg.MODEL.TIMM.NAME})" if backbone == "TextAwareTimm" else ""
    words = f" ({text.WEIGHTS})" if text.WEIGHTS else ""
    frozen = ", not trained" if "all" in text.FROZEN else ""
    others = (cfg.MODEL.ALIGNMENT.NAME, cfg.MODEL.NECK.NAME or "none", cfg.MODEL.DECODER.NAME)
    return (
        "Referring segmentation of aerial images: an image and an expression in, the mask of the "
        "one thing\nmeant out. A model of cadformer_d2, "
        f"{millions:.1f} M parameters with the text encoder.\n\n"
        "| part | |\n|---|---|\n"
        f"| backbone | {backbone}{network} |\n"
        f"| text encoder | {text.NAME}{words}{frozen} |\n"
        f"| alignment, neck, decoder | {', '.join(others)} |\n"
        f"| position signal | {cfg.MODEL.POSITION.NAME} |\n"
        f"| input | {height} x {width} pixels, at most {cfg.INPUT.MAX_TOKENS} tokens |\n"
        f"| trained on | {trained} |\n"
    )


def _usage(name: str) -> str:
    return (
        "```\n"
        f'cadformer predict photo.jpg "the leftmost airplane" --weights {name}\n'
        "```\n\n"
        "```python\n"
        "from cadformer_d2.inference import RefSegPredictor\n\n"
        f'predictor = RefSegPredictor.from_pretrained("{name}")\n'
        'result = predictor("photo.jpg", "the leftmost airplane")\n'
        "result.mask, result.score\n"
        "```\n\n"
        "Parameters are stored in half precision and loaded in float32."
    )


def _numbers(name: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    if not metrics:
        return "(To be measured: `cadformer evaluate`, then `cadformer export --metrics`.)"
    header = f"| dataset | {' | '.join(NUMBERS)} | samples |\n|---|{'---|' * (len(NUMBERS) + 1)}\n"
    rows = [
        f"| {dataset} | "
        + " | ".join(_number(measured.get(key)) for key in NUMBERS)
        + f" | {measured.get('num_samples', 0):.0f} |\n"
        for dataset, measured in metrics.items()
    ]
    by_kind = [
        f"By kind of expression on {dataset}, mIoU: "
        + ", ".join(f"{kind} {value['mIoU']:.1f}" for kind, value in kinds.items())
        + ".\n"
        for dataset, measured in metrics.items()
        if (kinds := measured.get("groups", {}).get("kind"))
    ]
    ways = sorted({measured.get("eval_resolution", "input") for measured in metrics.values()})
    names = ", ".join(f"'{dataset}'" for dataset in metrics)
    return (
        f"In percent, masks compared at the {' or '.join(ways)} resolution:\n\n"
        f"{header}{''.join(rows)}\n{''.join(by_kind)}\n"
        "Measured with\n\n```\n"
        f'cadformer evaluate MODEL.WEIGHTS {name} DATASETS.TEST "({names},)"\n'
        "```"
    )


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else "-"
