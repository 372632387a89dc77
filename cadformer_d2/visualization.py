"""Pictures of targets and predictions, as in the papers' figures."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from detectron2.utils.visualizer import Visualizer
from matplotlib.figure import Figure

TRUTH_COLOUR = (0.10, 0.85, 0.25)
PREDICTION_COLOUR = (0.95, 0.15, 0.25)
# Small images are enlarged to this many pixels, so that outlines stay thin beside them.
SMALLEST_SIDE = 384
CAPTION_WIDTH = 62  # characters of a caption's line under three pictures


@dataclass(frozen=True)
class Comparison:
    """One row of a sheet."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    truth: np.ndarray  # (H, W) bool
    prediction: np.ndarray  # (H, W) bool
    expression: str
    iou: float  # in [0, 1]


def draw_mask(
    image: np.ndarray, mask: np.ndarray, *, colour: tuple[float, float, float], alpha: float = 0.45
) -> np.ndarray:
    """The image with a tinted and outlined mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        colour: RGB in [0, 1].
        alpha: opacity of the tint.

    Returns:
        (H', W', 3) uint8 RGB, enlarged where the image is small.

    Raises:
        ValueError: image and mask have different sizes.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]}, mask {mask.shape} (height, width)")
    factor = max(1, round(SMALLEST_SIDE / min(mask.shape)))
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
    if not mask.any():
        return enlarged
    visualizer = Visualizer(enlarged)
    large_mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    visualizer.draw_binary_mask(large_mask, color=colour, edge_color=colour, alpha=alpha)
    return visualizer.output.get_image()


def comparison_sheet(comparisons: list[Comparison], *, columns: int = 2) -> Figure:
    """Blocks of image | ground truth | prediction, with sentence and IoU under each.

    Args:
        columns: blocks side by side.

    Returns:
        a figure; the caller saves and closes it.
    """
    rows = -(-len(comparisons) // columns)
    captions = [caption(comparison) for comparison in comparisons]
    deepest = max(text.count("\n") + 1 for text in captions)
    figure = plt.figure(figsize=(6.6 * columns, rows * (2.25 + 0.17 * deepest)))
    blocks = figure.subfigures(rows, columns, squeeze=False).flatten()
    for block, comparison, text in zip(blocks, comparisons, captions, strict=False):
        draw_block(block, comparison, text, caption_lines=deepest)
    return figure


def draw_block(block: Figure, comparison: Comparison, text: str, *, caption_lines: int) -> None:
    """Three pictures and their caption."""
    pictures = {
        "image": draw_mask(comparison.image, np.zeros_like(comparison.truth), colour=TRUTH_COLOUR),
        "ground truth": draw_mask(comparison.image, comparison.truth, colour=TRUTH_COLOUR),
        "prediction": draw_mask(comparison.image, comparison.prediction, colour=PREDICTION_COLOUR),
    }
    caption_share = 0.17 * caption_lines / (2.25 + 0.17 * caption_lines)
    axes = block.subplots(1, 3)
    block.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=caption_share, wspace=0.03)
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    # parse_math off: a dollar sign in a sentence is a dollar sign.
    block.text(0.5, caption_share - 0.02, text, ha="center", va="top", fontsize=9, parse_math=False)


def caption(comparison: Comparison) -> str:
    """The sentence, wrapped, and the IoU."""
    lines = textwrap.wrap(comparison.expression, CAPTION_WIDTH) or [""]
    return "\n".join([*lines, f"IoU {comparison.iou:.2f}"])
