"""Pictures of targets and predictions, as in the papers' figures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
from detectron2.data.detection_utils import read_image
from detectron2.utils.visualizer import Visualizer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pycocotools import mask as coco_mask

TRUTH_COLOUR = (0.10, 0.85, 0.25)
PREDICTION_COLOUR = (0.95, 0.15, 0.25)
# Small images are enlarged to this many pixels, so that outlines stay thin beside them.
SMALLEST_SIDE = 384
CAPTION_WIDTH = 62  # characters of a caption's line under three pictures


@dataclass(frozen=True)
class Prediction:
    """What one model answered."""

    mask: np.ndarray  # (H, W) bool
    iou: float  # in [0, 1]


@dataclass(frozen=True)
class Comparison:
    """One row of a sheet."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    truth: np.ndarray  # (H, W) bool
    expression: str
    predictions: Mapping[str, Prediction]  # by title, one column each


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
    if not mask.any():
        return enlarged(image)
    visualizer = Visualizer(enlarged(image))
    visualizer.draw_binary_mask(enlarged(mask), color=colour, edge_color=colour, alpha=alpha)
    return visualizer.output.get_image()


def enlarged(array: np.ndarray) -> np.ndarray:
    """A small picture or mask (H, W, ...) with every pixel repeated; a large one as it is."""
    factor = max(1, round(SMALLEST_SIDE / min(array.shape[:2])))
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def read_comparison(entries: Mapping[str, dict[str, Any]]) -> Comparison:
    """Image, masks and sentence of one sample, at the resolution of scoring.

    Args:
        entries: by title, the sample's entry in the predictions file of each model.
    """
    sample = next(iter(entries.values()))
    truth = coco_mask.decode(sample["target"]).astype(bool)
    image = np.ascontiguousarray(read_image(sample["file_name"], "RGB"))
    if image.shape[:2] != truth.shape:
        image = cv2.resize(image, truth.shape[::-1], interpolation=cv2.INTER_AREA)
    predictions = {
        title: Prediction(coco_mask.decode(entry["prediction"]).astype(bool), entry["iou"])
        for title, entry in entries.items()
    }
    return Comparison(image, truth, sample["expression"], predictions)


def comparison_sheet(comparisons: Sequence[Comparison], *, columns: int = 2) -> Figure:
    """Blocks of image | ground truth | predictions with their IoU, and the sentence under each.

    Args:
        comparisons: one or more, with the same predictions' titles.
        columns: blocks side by side.

    Returns:
        a figure; the caller saves and closes it.
    """
    rows = -(-len(comparisons) // columns)
    captions = [caption(comparison) for comparison in comparisons]
    deepest = max(text.count("\n") + 1 for text in captions)
    pictures = 2 + len(comparisons[0].predictions)
    figure = plt.figure(figsize=(2.2 * pictures * columns, rows * (2.25 + 0.17 * deepest)))
    blocks = figure.subfigures(rows, columns, squeeze=False).flatten()
    for block, comparison, text in zip(blocks, comparisons, captions, strict=False):
        draw_block(block, comparison, text, caption_lines=deepest)
    return figure


def answer_sheet(image: np.ndarray, masks: Mapping[str, np.ndarray]) -> Figure:
    """One picture a sentence, side by side in rows of three.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: by caption, (H, W) bool.

    Returns:
        a figure; the caller saves and closes it.
    """
    columns = min(3, len(masks))
    rows = -(-len(masks) // columns)
    height = 4 * image.shape[0] / image.shape[1]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4 * columns, rows * (height + 0.5)),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (text, mask) in zip(axes.flat, masks.items(), strict=False):
        axis.imshow(draw_mask(image, mask, colour=PREDICTION_COLOUR))
        title = "\n".join(textwrap.wrap(text, CAPTION_WIDTH * 2 // 3))
        axis.set_title(title, fontsize=9, parse_math=False)
    return figure


def draw_block(block: Figure, comparison: Comparison, text: str, *, caption_lines: int) -> None:
    """The pictures of one comparison and their caption."""
    image, truth = comparison.image, comparison.truth
    pictures = {
        "image": draw_mask(image, np.zeros_like(truth), colour=TRUTH_COLOUR),
        "ground truth": draw_mask(image, truth, colour=TRUTH_COLOUR),
    }
    for title, prediction in comparison.predictions.items():
        pictures[title] = draw_mask(image, prediction.mask, colour=PREDICTION_COLOUR)
    caption_share = 0.17 * caption_lines / (2.25 + 0.17 * caption_lines)
    axes = block.subplots(1, len(pictures))
    block.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=caption_share, wspace=0.03)
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
        if title in comparison.predictions:
            draw_corner(axis, f"IoU {comparison.predictions[title].iou:.2f}")
    # parse_math off: a dollar sign in a sentence is a dollar sign.
    block.text(0.5, caption_share - 0.02, text, ha="center", va="top", fontsize=9, parse_math=False)


def draw_corner(axis: Axes, text: str) -> None:
    """Write into the lower right corner of a picture."""
    background = {"facecolor": "black", "alpha": 0.65, "edgecolor": "none", "pad": 1.5}
    axis.text(
        *(0.98, 0.03, text),
        transform=axis.transAxes,
        ha="right",
        va="bottom",
        fontsize=8,
        color="white",
        bbox=background,
    )


def caption(comparison: Comparison) -> str:
    """The sentence, wrapped to the width of the pictures."""
    width = CAPTION_WIDTH * (2 + len(comparison.predictions)) // 3
    return "\n".join(textwrap.wrap(comparison.expression, width))
