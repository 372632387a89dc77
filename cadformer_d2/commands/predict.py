"""Ask images with expressions.

    cadformer predict photo.jpg "the leftmost airplane"
    cadformer predict photo.jpg "the leftmost airplane" "the tennis courts" --weights model_best.pth

or, in Detectron2's manner, several images at once:

    cadformer predict --input a.jpg "b/*.jpg" --expression "the pool on the left" --output out \
        --opts MODEL.WEIGHTS model_best.pth

Without weights, the model that comes with the project answers. For one expression:
<image>_overlay.png and <image>_mask.png. For several: <image>_sheet.png with one image each, and
<image>_mask1.png, <image>_mask2.png, ... The network is the checkpoint's.
"""

from __future__ import annotations

import argparse
import glob
import logging
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..atomic_files import write_atomically
from ..data.image_file import encode_image
from ..inference import MaskPredictor, ReferredMask
from ..inference.load_predictor import is_exported, load_predictor
from ..inference.ready_model import find_ready_model
from ..visualization import NOT_HERE, PREDICTION_COLOUR, draw_answer_sheet, draw_mask, save_figure


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="?", help="to ask about")
    parser.add_argument("sentences", nargs="*", metavar="expression", help="one or several")
    parser.add_argument(
        "--weights",
        help="checkpoint, exported .onnx, folder or Hugging Face name; default: the ready model",
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--config-file", default="", metavar="FILE", help="for MODEL.DEVICE etc.")
    parser.add_argument("--input", nargs="+", default=[], help="images, or quoted globs")
    parser.add_argument("--expression", nargs="+", default=[], help="one expression or several")
    parser.add_argument(
        "--output", type=Path, default=Path("output/answers"), help="folder; default: %(default)s"
    )
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    arguments = parser.parse_args()
    if arguments.image and arguments.input:
        parser.error("name images before the expressions or behind --input, not both")
    if arguments.sentences and arguments.expression:
        parser.error("give expressions behind the image or behind --expression, not both")
    arguments.input = arguments.input or [arguments.image] * bool(arguments.image)
    arguments.expression = arguments.expression or arguments.sentences
    if not arguments.input or not arguments.expression:
        parser.error('an image and an expression are needed: photo.jpg "the leftmost airplane"')
    if arguments.device and (arguments.config_file or arguments.opts):
        parser.error("--device and KEY VALUE pairs: write MODEL.DEVICE among the pairs instead")
    return arguments


def _build_predictor(arguments: argparse.Namespace) -> MaskPredictor:
    """The predictor of --weights or MODEL.WEIGHTS, else of the ready model."""
    if not (arguments.config_file or arguments.opts):
        return load_predictor(arguments.weights or "", device=arguments.device)
    if arguments.weights and is_exported(arguments.weights):
        raise ValueError(f"{arguments.weights} has its config inside; give no other one")
    # Training's code takes a second to import, and a plain question needs none of it.
    from ..engine.config_checks import refuse_unusable_device
    from ..engine.setup import load_config, merge_checkpoint_config
    from ..inference.predictor import RefSegPredictor

    if not arguments.config_file:
        # Where no config was named, it is no news that the checkpoint's is another.
        logging.getLogger("cadformer_d2.engine.setup").setLevel(logging.ERROR)
    cfg = load_config(arguments.config_file, arguments.opts)
    if arguments.weights and "MODEL.WEIGHTS" in arguments.opts:
        raise ValueError("--weights and MODEL.WEIGHTS both name weights; give one of them")
    weights = arguments.weights or cfg.MODEL.WEIGHTS or os.fspath(find_ready_model())
    cfg.MODEL.WEIGHTS = weights
    refuse_unusable_device(cfg)
    cfg = merge_checkpoint_config(cfg, overrides=arguments.opts)
    cfg.MODEL.WEIGHTS = weights
    return RefSegPredictor.from_config(cfg)


def _find_input_files(patterns: list[str]) -> list[Path]:
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


def _name_output_files(base: Path, num_sentences: int) -> tuple[list[Path], Path]:
    """Files of the masks, one a sentence, and of the figure that shows them."""
    if num_sentences == 1:
        return [Path(f"{base}_mask.png")], Path(f"{base}_overlay.png")
    masks = [Path(f"{base}_mask{number}.png") for number in range(1, num_sentences + 1)]
    return masks, Path(f"{base}_sheet.png")


def _refuse_replacing(inputs: list[Path], output: Path, num_sentences: int) -> None:
    """Raise ValueError where the answer to one input would take the place of another."""
    taken = {path.resolve() for path in inputs}
    for path in inputs:
        masks, figure = _name_output_files(output / path.stem, num_sentences)
        for answer in (*masks, figure):
            if answer.resolve() in taken:
                raise ValueError(
                    f"{answer} is an input, and the answer to {path} would replace it; choose "
                    "another --output"
                )


def write_answers(image: np.ndarray, answers: list[ReferredMask], base: Path) -> None:
    """Write the masks as black and white PNG, and a figure that shows them.

    Raises:
        OSError: a file could not be written.
    """
    mask_files, figure = _name_output_files(base, len(answers))
    for file, answer in zip(mask_files, answers, strict=True):
        write_atomically(file, encode_image(answer.mask.astype(np.uint8) * 255, ".png"))
    if len(answers) == 1:
        overlay = draw_mask(image, answers[0].mask, colour=PREDICTION_COLOUR)
        write_atomically(figure, encode_image(overlay, ".png"))
        return
    captioned = [
        (f"{answer.expression} ({answer.score:.2f})", answer.mask)
        if answer.is_present
        else (f"{answer.expression}: {NOT_HERE}", answer.mask)
        for answer in answers
    ]
    save_figure(draw_answer_sheet(image, captioned), figure, dpi=100, bbox_inches="tight")


def say(answer: ReferredMask) -> str:
    """One line about an answer."""
    presence = "" if answer.presence is None else f"; there with probability {answer.presence:.2f}"
    if not answer.is_present:
        return f"{answer.expression}: {NOT_HERE}{presence}"
    share, parts = 100 * answer.mask.mean(), len(answer.instances)
    together = f" in {parts} parts" if parts > 1 else ""
    return (
        f"{answer.expression}: {share:.2g} % of the image{together}, score {answer.score:.2f}"
        f"{presence}"
    )


def main() -> None:
    arguments = _parse_arguments()
    files = _find_input_files(arguments.input)
    _refuse_replacing(files, arguments.output, len(arguments.expression))
    predictor = _build_predictor(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for file in tqdm(files, unit="image", disable=len(files) == 1):
        image = predictor.read_image(file, "RGB")
        answers = predictor(image, arguments.expression, channel_order=predictor.image_format)
        shown = image if predictor.image_format == "RGB" else image[..., ::-1]
        write_answers(np.ascontiguousarray(shown), answers, arguments.output / file.stem)
        if len(files) == 1:
            print("\n".join(map(say, answers)))
    print(
        f"{len(files)} x {len(arguments.expression)} answers (images x expressions), "
        f"written to {arguments.output}"
    )
