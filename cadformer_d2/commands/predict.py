"""Ask images with sentences, in Detectron2's manner.

    cadformer predict --input a.jpg b.jpg --expression "the pool on the left" --output out \
        --opts MODEL.WEIGHTS model_best.pth

For one sentence: <image>_overlay.png and <image>_mask.png. For several: <image>_sheet.png with one
picture a sentence, and <image>_mask1.png, <image>_mask2.png, ... The network is the checkpoint's.
"""

from __future__ import annotations

import argparse
import glob
import logging
from pathlib import Path

import matplotlib
import numpy as np
from detectron2.modeling import build_model
from tqdm import tqdm

from ..atomic_files import write_atomically
from ..checkpoint import RefSegCheckpointer
from ..data.image_file import encode_image
from ..engine.config_checks import refuse_unusable_device
from ..engine.setup import config_for_evaluation, load_config
from ..inference import ReferredMask, RefSegPredictor
from ..visualization import PREDICTION_COLOUR, answer_sheet, draw_mask, save_figure

matplotlib.use("Agg")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="for MODEL.DEVICE etc.")
    parser.add_argument("--input", required=True, nargs="+", help="images, or quoted globs")
    parser.add_argument("--expression", required=True, nargs="+", help="one sentence or several")
    parser.add_argument("--output", required=True, type=Path, help="folder")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return parser.parse_args()


def build_predictor(arguments: argparse.Namespace) -> RefSegPredictor:
    """The predictor of MODEL.WEIGHTS."""
    if not arguments.config_file:
        # Where no config was named, it is no news that the checkpoint's is another.
        logging.getLogger("cadformer_d2.engine.setup").setLevel(logging.ERROR)
    cfg = load_config(arguments.config_file, arguments.opts)
    refuse_unusable_device(cfg)
    cfg = config_for_evaluation(cfg, overrides=arguments.opts)
    model = build_model(cfg)
    RefSegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return RefSegPredictor(cfg=cfg, model=model)


def input_files(patterns: list[str]) -> list[Path]:
    """Files that the arguments name, globs opened.

    Raises:
        FileNotFoundError: an argument names none.
        ValueError: answers to two of them would have one name.
    """
    files: dict[str, Path] = {}
    for pattern in patterns:
        found = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))
        if not found:
            raise FileNotFoundError(f"--input {pattern}: there is no such file")
        for path in map(Path, found):
            other = files.setdefault(path.stem, path)
            if other != path:
                raise ValueError(
                    f"{other} and {path} would both be answered as {path.stem}_mask.png; ask them "
                    "with different --output"
                )
    return list(files.values())


def output_files(base: Path, num_sentences: int) -> tuple[list[Path], Path]:
    """Files of the masks, one a sentence, and of the picture that shows them."""
    if num_sentences == 1:
        return [Path(f"{base}_mask.png")], Path(f"{base}_overlay.png")
    masks = [Path(f"{base}_mask{number}.png") for number in range(1, num_sentences + 1)]
    return masks, Path(f"{base}_sheet.png")


def refuse_replacing(inputs: list[Path], output: Path, num_sentences: int) -> None:
    """Raise ValueError where the answer to one input would take the place of another."""
    taken = {path.resolve() for path in inputs}
    for path in inputs:
        masks, picture = output_files(output / path.stem, num_sentences)
        for answer in (*masks, picture):
            if answer.resolve() in taken:
                raise ValueError(
                    f"{answer} is an input, and the answer to {path} would replace it; choose "
                    "another --output"
                )


def write_answers(image: np.ndarray, answers: list[ReferredMask], base: Path) -> None:
    """Write the masks as black and white PNG, and a picture that shows them.

    Raises:
        OSError: a file could not be written.
    """
    mask_files, picture = output_files(base, len(answers))
    for file, answer in zip(mask_files, answers, strict=True):
        write_atomically(file, encode_image(answer.mask.astype(np.uint8) * 255, ".png"))
    if len(answers) == 1:
        overlay = draw_mask(image, answers[0].mask, colour=PREDICTION_COLOUR)
        write_atomically(picture, encode_image(overlay, ".png"))
        return
    captioned = [(f"{answer.expression} ({answer.score:.2f})", answer.mask) for answer in answers]
    save_figure(answer_sheet(image, captioned), picture, dpi=100, bbox_inches="tight")


def main() -> None:
    arguments = parse_arguments()
    predictor = build_predictor(arguments)
    files = input_files(arguments.input)
    refuse_replacing(files, arguments.output, len(arguments.expression))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for file in tqdm(files, unit="image"):
        image = predictor.read(file, "RGB")
        answers = predictor(image, arguments.expression, channel_order=predictor.image_format)
        shown = image if predictor.image_format == "RGB" else image[..., ::-1]
        write_answers(np.ascontiguousarray(shown), answers, arguments.output / file.stem)
    print(
        f"{len(files)} x {len(arguments.expression)} answers (images x sentences), "
        f"written to {arguments.output}"
    )
