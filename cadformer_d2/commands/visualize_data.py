"""Draw the model's input: the image at the network's size, the mask, the word pieces.

    cadformer dataset visualize --config-file configs/quickstart.yaml --output data.png

The samples are those of training, in its order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from ..atomic_files import replace_atomically
from ..data.catalog import register_datasets
from ..data.loading import build_training_set
from ..data.tokenization import ExpressionTokenizer, build_tokenizer
from ..engine.setup import load_config
from ..structures import ModelInput
from ..visualization import TRUTH_COLOUR, draw_mask

matplotlib.use("Agg")

COLUMNS = 4
MOST_SAMPLES = 200  # a figure of 50 rows


def _describe(sample: ModelInput, tokenizer: ExpressionTokenizer) -> str:
    """The ids and word pieces of a sample."""
    pieces = tokenizer.spell(sample["input_ids"])
    lines, line = [f"ref {sample['ref_id']}, sentence {sample['sent_id']}"], ""
    for piece in pieces:
        if len(line) + len(piece) > 44:
            lines.append(line)
            line = ""
        line += f"{piece} "
    return "\n".join([*lines, line])


def _draw(sample: ModelInput, image_format: str) -> np.ndarray:
    """Draw the network's input image with the target outlined."""
    image = sample["image"].permute(1, 2, 0).numpy().astype(np.uint8)
    image = np.ascontiguousarray(image if image_format == "RGB" else image[..., ::-1])
    return draw_mask(image, sample["gt_mask"].numpy(), colour=TRUTH_COLOUR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, type=Path, help="figure to write")
    parser.add_argument("--number", type=int, default=12, help="training samples to draw")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    _visualize(arguments)
    print(f"{arguments.number} training samples drawn: {arguments.output}")


def _visualize(arguments: argparse.Namespace) -> None:
    """Write the figure.

    Raises:
        ValueError, OSError: the config, the data or the number is unusable, or writing fails.
    """
    if not 0 < arguments.number <= MOST_SAMPLES:
        raise ValueError(f"--number is {arguments.number}; expected 1 to {MOST_SAMPLES}")
    cfg = load_config(arguments.config_file, arguments.opts)
    register_datasets(lenient=cfg.DATASETS.LENIENT)
    samples = build_training_set(cfg, seed=max(cfg.SEED, 0))
    tokenizer = build_tokenizer(cfg)
    rows = -(-arguments.number // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 4.8 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for draw_number, axis in zip(range(arguments.number), axes.flat, strict=False):
        sample = samples[draw_number]
        axis.imshow(_draw(sample, cfg.INPUT.FORMAT))
        axis.set_title(_describe(sample, tokenizer), fontsize=8, parse_math=False)
    figure.tight_layout()
    with replace_atomically(arguments.output) as path:
        figure.savefig(path, dpi=90, format=arguments.output.suffix[1:] or "png")
