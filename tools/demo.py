#!/usr/bin/env python3
"""The demo: the ready model answers expressions about an image.

    python tools/demo.py
    python tools/demo.py --image photo.jpg --sentence "the leftmost airplane"

Without an image, a scene is drawn: no photograph may be shipped. Leaves the pictures in
output/demo/.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from cadformer_d2.atomic_files import write_atomically
from cadformer_d2.command_errors import run_command
from cadformer_d2.commands import predict
from cadformer_d2.data.image_file import encode_image
from cadformer_d2.data.synthetic.example_scene import draw_example_scene
from cadformer_d2.inference import RefSegPredictor

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "output/demo"
SENTENCES = ("the ground track field", "the leftmost tennis court", "the smallest storage tank")


def answer(image: Path, sentences: list[str]) -> None:
    """Ask the ready model, say what it found and how long it took, and write the pictures."""
    start = time.perf_counter()
    predictor = RefSegPredictor.from_pretrained()
    loaded = time.perf_counter()
    pixels = predictor.read_image(image, "RGB")
    answers = predictor(pixels, sentences, channel_order="RGB")
    asked = time.perf_counter()
    predict.write_answers(np.ascontiguousarray(pixels), answers, OUTPUT / image.stem)
    print(f"{image}:", *(f"  {predict.say(found)}" for found in answers), sep="\n")
    print(f"model loaded in {loaded - start:.1f} s, answered in {asked - loaded:.1f} s: {OUTPUT}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="of your own")
    parser.add_argument("--sentence", action="append", help="may be given several times")
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    image = arguments.image
    if image is None:
        image = OUTPUT / "scene.png"
        write_atomically(image, encode_image(draw_example_scene(), ".png"))
    elif not arguments.sentence:
        parser.error("an image of your own needs a sentence")
    answer(image, arguments.sentence or list(SENTENCES))


if __name__ == "__main__":
    run_command(main)
