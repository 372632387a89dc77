"""Draw what the mapper feeds the model: pixels at the network's size, the mask, the word pieces.

    cadformer dataset visualize --config-file configs/quickstart.yaml --output data.png

What training sees first is drawn first.
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
MOST_SAMPLES = 200  # a picture of 50 rows


def describe(sample: ModelInput, tokenizer: ExpressionTokenizer) -> str:
    """Ids and the word pieces that are left of the sentence."""
    pieces = tokenizer.spell(sample["input_ids"])
    lines, line = [f"ref {sample['ref_id']}, sentence {sample['sent_id']}"], ""
    for piece in pieces:
        if len(line) + len(piece) > 44:
            lines.append(line)
            line = ""
        line += f"{piece} "
    return "\n".join([*lines, line])


def draw(sample: ModelInput, image_format: str) -> np.ndarray:
    """The network's pixels with the target outlined."""
    image = sample["image"].permute(1, 2, 0).numpy().astype(np.uint8)
    image = np.ascontiguousarray(image if image_format == "RGB" else image[..., ::-1])
    return draw_mask(image, sample["gt_mask"].numpy(), colour=TRUTH_COLOUR)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, type=Path, help="picture to write")
    parser.add_argument("--number", type=int, default=12, help="training samples to draw")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE overrides")
    arguments = parser.parse_args()
    visualize(arguments)
    print(f"{arguments.number} training samples drawn: {arguments.output}")


def visualize(arguments: argparse.Namespace) -> None:
    """Write the picture.

    Raises:
        ValueError, OSError: the config, the data or the number cannot be, or no picture is written.
    """
    if not 0 < arguments.number <= MOST_SAMPLES:
        raise ValueError(f"--number is {arguments.number}; 1 to {MOST_SAMPLES} can be drawn")
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
        axis.imshow(draw(sample, cfg.INPUT.FORMAT))
        axis.set_title(describe(sample, tokenizer), fontsize=8, parse_math=False)
    figure.tight_layout()
    with replace_atomically(arguments.output) as path:
        figure.savefig(path, dpi=90, format=arguments.output.suffix[1:] or "png")
