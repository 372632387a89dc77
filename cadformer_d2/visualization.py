"""Drawings of targets and predictions, as in the papers' figures.

matplotlib takes half a second to import, so only the functions that make figures import it.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .atomic_files import write_atomically
from .data.image_file import read_image
from .data.masks import merge_segmentation
from .resampling import resize_pixels
from .structures import RunLengthMask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH_COLOUR = (0.10, 0.85, 0.25)
PREDICTION_COLOUR = (0.95, 0.15, 0.25)
# Small images are enlarged until their shorter side has this many pixels, so that outlines stay
# thin, but never past LONGEST_SIDE: a strip of 5000 x 1 would take gigabytes.
SMALLEST_SIDE, LONGEST_SIDE = 384, 2048
SHOWN_SIDE = 1024  # pixels; larger images are reduced for a figure
STEEPEST = 4  # largest aspect ratio of an image's place in a sheet
NOT_HERE = "not in this image"  # what figures and commands say of an empty answer
CAPTION_WIDTH = 62  # characters of a caption's line under three images


@dataclass(frozen=True)
class Prediction:
    """The prediction of one model."""

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
    """Draw a tinted mask on an image, outlined along its inner edge.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        colour: RGB in [0, 1].
        alpha: opacity of the tint, in [0, 1].

    Returns:
        (H', W', 3) uint8 RGB, enlarged if the image is small.

    Raises:
        ValueError: image and mask have different sizes.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]}, mask {mask.shape} (height, width)")
    image, mask = enlarge(image), enlarge(mask)
    solid = 255 * np.array(colour)
    # Uses a table of the 256 levels: 36 megapixels as floats would take half a gigabyte.
    tint = (1 - alpha) * np.arange(256)[:, None] + alpha * solid
    drawn = np.where(mask[..., None], cv2.LUT(image, tint.round().astype(np.uint8)[None]), image)
    drawn[_inner_edge(mask)] = solid.round()
    return drawn


def _inner_edge(mask: np.ndarray) -> np.ndarray:
    """The outermost pixels of a mask (H, W) bool, a few thousandths of the image wide."""
    width = max(1, round(max(mask.shape) / 500))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return mask & (cv2.erode(mask.astype(np.uint8), kernel) == 0)


def enlarge(array: np.ndarray) -> np.ndarray:
    """Enlarge a small image or mask (H, W, ...) by repeating pixels."""
    shorter, longer = sorted(array.shape[:2])
    factor = max(1, min(round(SMALLEST_SIDE / shorter), LONGEST_SIDE // longer))
    return array.repeat(factor, axis=0).repeat(factor, axis=1)


def read_comparison(entries: Mapping[str, dict[str, Any]]) -> Comparison:
    """Read image, masks and expression of one sample, at the resolution of scoring.

    Args:
        entries: by title, the sample's entry in the predictions file of each model.

    Raises:
        FileNotFoundError: the image is missing.
        ValueError: the image cannot be read, or the runs of a mask do not match its size.
    """
    sample = next(iter(entries.values()))
    truth = _decode_mask(sample["target"])
    image = resize_pixels(read_image(sample["file_name"], "RGB"), truth.shape)
    predictions = {
        title: Prediction(_decode_mask(entry["prediction"]), entry["iou"])
        for title, entry in entries.items()
    }
    return Comparison(image, truth, sample["expression"], predictions)


def _decode_mask(mask: RunLengthMask) -> np.ndarray:
    """Decode a mask of a predictions file to (H, W) bool.

    Raises:
        ValueError: its runs do not match its size.
    """
    height, width = mask["size"]
    return coco_mask.decode(merge_segmentation(mask, height=height, width=width)).astype(bool)


def draw_comparison_sheet(comparisons: Sequence[Comparison], *, columns: int = 2) -> Figure:
    """Draw blocks of image | ground truth | predictions with IoU, each with its expression below.

    Args:
        comparisons: at least one; all with the same prediction titles.
        columns: blocks side by side.

    Returns:
        a figure, for ``save_figure``.
    """
    from matplotlib.figure import Figure

    rows = -(-len(comparisons) // columns)
    captions = [wrap_caption(comparison) for comparison in comparisons]
    deepest = max(text.count("\n") + 1 for text in captions)
    images = 2 + len(comparisons[0].predictions)
    figure = Figure(figsize=(2.2 * images * columns, rows * (2.25 + 0.17 * deepest)))
    blocks = figure.subfigures(rows, columns, squeeze=False).flatten()
    for block, comparison, text in zip(blocks, comparisons, captions, strict=False):
        _draw_block(block, comparison, text, caption_lines=deepest)
    return figure


def draw_answer_sheet(image: np.ndarray, masks: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Draw one image per expression, side by side in rows of three.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: caption and (H, W) bool of each.

    Returns:
        a figure, for ``save_figure``.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(masks))
    rows = -(-len(masks) // columns)
    height = 4 * np.clip(image.shape[0] / image.shape[1], 1 / STEEPEST, STEEPEST)
    figure = Figure(figsize=(4 * columns, rows * (height + 0.5)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (text, mask) in zip(axes.flat, masks, strict=False):
        axis.imshow(_shrink(draw_mask(image, mask, colour=PREDICTION_COLOUR)))
        title = "\n".join(textwrap.wrap(text, CAPTION_WIDTH * 2 // 3))
        axis.set_title(title, fontsize=9, parse_math=False)
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int, **options: Any) -> None:
    """Write a figure atomically, in the format given by the file's ending.

    Args:
        dpi: pixels an inch.
        options: of matplotlib's ``savefig``.

    Raises:
        OSError: the file could not be written.
        ValueError: an unknown ending, or more pixels than matplotlib can draw.
    """
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=dpi, **options)
    write_atomically(path, content.getvalue())


def _draw_block(block: Figure, comparison: Comparison, text: str, *, caption_lines: int) -> None:
    """Draw the images of one comparison and their caption."""
    image, truth = comparison.image, comparison.truth
    images = {
        "image": draw_mask(image, np.zeros_like(truth), colour=TRUTH_COLOUR),
        "ground truth": draw_mask(image, truth, colour=TRUTH_COLOUR),
    }
    for title, prediction in comparison.predictions.items():
        images[title] = draw_mask(image, prediction.mask, colour=PREDICTION_COLOUR)
    caption_share = 0.17 * caption_lines / (2.25 + 0.17 * caption_lines)
    axes = block.subplots(1, len(images))
    block.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=caption_share, wspace=0.03)
    for axis, (title, drawn) in zip(axes, images.items(), strict=True):
        axis.imshow(_shrink(drawn))
        axis.set_title(title, fontsize=8, parse_math=False)
        axis.axis("off")
        if title in comparison.predictions:
            _draw_corner_text(axis, _describe_prediction(comparison, title))
        elif title == "ground truth" and not truth.any():
            _draw_corner_text(axis, NOT_HERE)
    # parse_math off: a dollar sign in an expression is not mathematics.
    block.text(0.5, caption_share - 0.02, text, ha="center", va="top", fontsize=9, parse_math=False)


def _describe_prediction(comparison: Comparison, title: str) -> str:
    """The IoU, and whether the answer is that there is no target."""
    prediction = comparison.predictions[title]
    iou = f"IoU {prediction.iou:.2f}"
    if prediction.mask.any():
        return iou
    return f"{NOT_HERE}, {iou}" if comparison.truth.any() else NOT_HERE


def _shrink(image: np.ndarray) -> np.ndarray:
    """Reduce a large image (H, W, 3) uint8 for a figure."""
    scale = SHOWN_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _draw_corner_text(axis: Axes, text: str) -> None:
    """Write into the lower right corner of an image."""
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


def wrap_caption(comparison: Comparison) -> str:
    """Wrap the expression to the width of the images."""
    width = CAPTION_WIDTH * (2 + len(comparison.predictions)) // 3
    return "\n".join(textwrap.wrap(comparison.expression, width))
