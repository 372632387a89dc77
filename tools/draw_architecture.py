#!/usr/bin/env python3
"""Draw the model that a config builds, with the shapes that pass through it.

    python tools/draw_architecture.py --config-file configs/rrsisd.yaml --output architecture.png

Names are those of the built classes, shapes those of a forward pass on one image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import torch
from detectron2.modeling import build_model
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import nn

from cadformer_d2.command_errors import run_command
from cadformer_d2.engine.setup import load_config
from cadformer_d2.model_cost import random_sample
from cadformer_d2.visualization import save_figure

matplotlib.use("Agg")

NUM_TOKENS = 20
VISION, TEXT, BOTH, DECODER = "#d7e8f7", "#fbe6c8", "#e3d9f2", "#d9f0dc"
# In units of the drawing: distances of boxes, and their size.
ROW, COLUMN = 2.0, 3.3
BOX_WIDTH, BOX_HEIGHT = 2.1, 0.8


def trace_shapes(model: nn.Module, sample: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Record the shapes that leave each component in one forward pass."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note_backbone(_: nn.Module, inputs: tuple, output: tuple) -> None:
        shapes["image"], shapes["L_1"] = tuple(inputs[0].shape), tuple(inputs[1].tokens.shape)
        for number, feature in enumerate(output[0].values(), start=1):
            shapes[f"F_{number}"] = tuple(feature.shape)
        shapes["L_5"] = tuple(output[1].tokens.shape)

    def note_decoder(_: nn.Module, __: tuple, output: torch.Tensor) -> None:
        shapes["logits"] = tuple(output.shape)

    handles = [
        model.backbone.register_forward_hook(note_backbone),
        model.decoder.register_forward_hook(note_decoder),
    ]
    with torch.no_grad():
        model.eval()([sample])
    for handle in handles:
        handle.remove()
    return shapes


def draw_box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Draw a box around (x, y)."""
    place = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
    shape = FancyBboxPatch(
        place, BOX_WIDTH, BOX_HEIGHT, "round,pad=0.03", facecolor=colour, edgecolor="#555555"
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str = ""
) -> None:
    """Draw an arrow with its label beside the middle: to the right if vertical, else above."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444"})
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[0] == end[0]:
        axes.text(x + 0.08, y, label, fontsize=8, va="center")
    else:
        axes.text(x, y + 0.08, label, fontsize=8, ha="center")


def format_shape(shape: tuple[int, ...]) -> str:
    """Format a shape with B for the batch."""
    return f"(B, {', '.join(map(str, shape[1:]))})"


def draw_model(model: nn.Module, shapes: dict[str, tuple[int, ...]]) -> plt.Figure:
    """Draw the image's path at the bottom, the text's in the middle, the decoder at the top."""
    stages = [name for name in shapes if name.startswith("F_")]
    figure, axes = plt.subplots(figsize=(2.35 * (len(stages) + 2), 4.6))
    vision, words, decoder = 0.0, ROW, 2 * ROW
    edge, top = BOX_WIDTH / 2 + 0.05, BOX_HEIGHT / 2 + 0.05
    draw_box(axes, 0, vision, "patch embedding", VISION)
    draw_box(axes, 0, words, type(model.text_encoder).__name__, TEXT)
    draw_arrow(axes, (0, vision - 1.1), (0, vision - top), f"image {format_shape(shapes['image'])}")
    draw_arrow(axes, (0, words - 1.1), (0, words - top), '"the tank to the right of ..."')
    alignment, decodes = type(model.backbone.alignments[0]).__name__, type(model.decoder).__name__
    through = "" if model.neck is None else f" through {type(model.neck).__name__}"
    for number, name in enumerate(stages, start=1):
        x, next_x, is_last = number * COLUMN, (number + 1) * COLUMN, number == len(stages)
        draw_box(axes, x, vision, f"stage {number}", VISION)
        draw_box(axes, x, words, f"{alignment} {number}", BOTH)
        draw_box(axes, x, decoder, f"{decodes}, level {number}", DECODER)
        draw_arrow(axes, (x - COLUMN + edge, vision), (x - edge, vision))
        text = f"$L_1$\n{format_shape(shapes['L_1'])}" if number == 1 else f"$L_{number}$"
        draw_arrow(axes, (x - COLUMN + edge, words), (x - edge, words), text)
        draw_arrow(axes, (x - 0.5, vision + top), (x - 0.5, words - top), f"$V_{number}$")
        label = f"$F_{number}$ {format_shape(shapes[name])}{through}"
        draw_arrow(axes, (x - 0.5, words + top), (x - 0.5, decoder - top), label)
        if not is_last:
            draw_arrow(axes, (x + 0.5, words - top), (x + 0.5, vision + top), "update")
            draw_arrow(axes, (next_x - edge, decoder), (x + edge, decoder))
        elif model.decoder.reads_text:
            label = f"$L_{number + 1}$ {format_shape(shapes['L_5'])}"
            draw_arrow(axes, (x + 0.9, words + top), (x + 0.9, decoder - top), "")
            axes.text(x + 0.98, decoder - top - 0.3, label, fontsize=8, va="center")
    draw_arrow(axes, (COLUMN - edge, decoder), (0.9, decoder))
    logits = f"logits {format_shape(shapes['logits'])}\nupsampled to the image"
    axes.text(0.8, decoder, logits, ha="right", va="center", fontsize=9)
    axes.set_xlim(-BOX_WIDTH / 2 - 0.3, (len(stages) + 0.5) * COLUMN + 0.4)
    axes.set_ylim(vision - 1.25, decoder + top + 0.1)
    axes.axis("off")
    figure.tight_layout(pad=0.2)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", default="", metavar="FILE")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    options = ["MODEL.WEIGHTS", "", "MODEL.TEXT_ENCODER.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    cfg = load_config(arguments.config_file, options)
    model = build_model(cfg)
    shapes = trace_shapes(model, random_sample(cfg, NUM_TOKENS))
    save_figure(draw_model(model, shapes), arguments.output, dpi=110)


if __name__ == "__main__":
    run_command(main)
