#!/usr/bin/env python3
"""A web page to point at things in an aerial image. Needs the extra ``web``.

    python demo/app.py --weights model_best.pth

Drop an image or pick an example, type one sentence or two, and look. Listens on this machine only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cadformer_d2.inference import ReferredMask, RefSegPredictor
from cadformer_d2.visualization import enlarged

try:
    import gradio
except ModuleNotFoundError as error:
    raise SystemExit("app: gradio is missing; pip install 'cadformer_d2[web]'") from error

LARGEST_SIDE = 6000  # pixels; larger scenes are for tools/segment_raster.py
UPLOAD_LIMIT = "30mb"
COLOUR = np.array([242, 38, 64], np.float32)  # of the mask
ABOUT = """# Point with a sentence
Drop an aerial image or pick an example, say what you mean (*"the pool on the left"*), and press
**Find it**. A second sentence is shown beside the first."""


class UploadedImage(gradio.Image):
    """Hands over the uploaded file as it is: what is wrong with it is for ``answer`` to say."""

    is_template = True  # on the page it is an image like any other

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else payload.path


def answer(
    predictor: RefSegPredictor, path: str | None, sentences: list[str]
) -> tuple[np.ndarray, list[ReferredMask]]:
    """The image (height, width, 3) uint8 RGB and what each sentence points at.

    Raises:
        gradio.Error: no image, one that cannot be read or is too large, or no sentence; its text
            is shown on the page.
    """
    asked = [sentence.strip() for sentence in sentences if sentence and sentence.strip()]
    if not path:
        raise gradio.Error("There is no image yet: drop one, or pick an example.")
    if not asked:
        raise gradio.Error("Say what you mean: the first sentence is empty.")
    try:
        image = predictor.read(path, "RGB")
    except (ValueError, OSError) as error:
        raise gradio.Error("This file cannot be read as an image. Try a JPEG or a PNG.") from error
    if max(image.shape[:2]) > LARGEST_SIDE:
        raise gradio.Error(
            f"The image has more than {LARGEST_SIDE} pixels on a side; "
            "tools/segment_raster.py is made for such scenes."
        )
    pairs = [(image, sentence) for sentence in asked]
    answers = predictor.predict_pairs(pairs, channel_order=predictor.image_format)
    shown = image if predictor.image_format == "RGB" else image[..., ::-1]
    return np.ascontiguousarray(shown), answers


def overlay(
    image: np.ndarray, probability: np.ndarray, *, threshold: float, opacity: float
) -> np.ndarray:
    """The image with everything at least as likely as ``threshold`` tinted and outlined.

    Small images are enlarged.
    """
    mask = enlarged(probability >= threshold)
    drawn = enlarged(image).astype(np.float32)
    drawn[mask] = (1 - opacity) * drawn[mask] + opacity * COLOUR
    drawn = np.ascontiguousarray(drawn.round().astype(np.uint8))
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(mask.shape) / 500))
    return cv2.drawContours(drawn, outlines, -1, COLOUR.tolist(), width)


def downloads(answers: list[ReferredMask], threshold: float) -> list[str]:
    """A PNG mask and, with the extra ``geo``, pixel polygons of each answer."""
    folder = Path(tempfile.mkdtemp(prefix="cadformer_"))
    files = []
    for number, found in enumerate(answers, start=1):
        mask = found.probability >= threshold
        files.append(folder / f"mask{number}.png")
        cv2.imwrite(str(files[-1]), mask.astype(np.uint8) * 255)
        try:
            from cadformer_d2.inference.pieces import mask_polygons
        except ImportError:
            continue
        features = [
            {"type": "Feature", "geometry": shape, "properties": {"sentence": found.expression}}
            for shape in mask_polygons(mask)
        ]
        files.append(folder / f"polygons{number}.geojson")
        files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return [str(file) for file in files]


def build_page(predictor: RefSegPredictor, examples: list[list[str]]) -> gradio.Blocks:
    """The page.

    Args:
        examples: [path of an image, sentence] each.
    """

    def show(image: Any, answers: Any, threshold: float, opacity: float) -> tuple:
        if not answers:
            return None, gradio.skip(), None
        drawn = [
            overlay(image, found.probability, threshold=threshold, opacity=opacity)
            for found in answers
        ]
        second = gradio.update(value=drawn[1] if len(drawn) > 1 else None, visible=len(drawn) > 1)
        return drawn[0], second, downloads(answers, threshold)

    def find(path: str | None, first: str, second: str, threshold: float, opacity: float) -> tuple:
        image, answers = answer(predictor, path, [first, second])
        said = "  \n".join(f"**{a.expression}**: score {a.score:.2f}" for a in answers)
        return image, answers, said, *show(image, answers, threshold, opacity)

    with gradio.Blocks(title="Point with a sentence") as page:
        gradio.Markdown(ABOUT)
        image, answers = gradio.State(), gradio.State()
        with gradio.Row():
            with gradio.Column():
                path = UploadedImage(label="Image", sources=["upload", "clipboard"])
                first = gradio.Textbox(label="Sentence", placeholder="the storage tank on the left")
                second = gradio.Textbox(label="Another sentence, to compare (optional)")
                button = gradio.Button("Find it", variant="primary")
                threshold = gradio.Slider(0.05, 0.95, 0.5, step=0.05, label="Threshold")
                opacity = gradio.Slider(0.0, 1.0, 0.45, step=0.05, label="Opacity")
            with gradio.Column():
                with gradio.Row():
                    left = gradio.Image(label="Answer", interactive=False)
                    right = gradio.Image(label="Other answer", interactive=False, visible=False)
                said = gradio.Markdown()
                files = gradio.Files(label="Mask and polygons")
        if examples:
            gradio.Examples(examples, [path, first])
        sliders = [threshold, opacity]
        results = [left, right, files]
        asking = {
            "inputs": [path, first, second, *sliders],
            "outputs": [image, answers, said, *results],
        }
        button.click(find, **asking, api_name="find")
        first.submit(find, **asking, api_name=False)
        second.submit(find, **asking, api_name=False)
        for slider in sliders:
            # Only drawn anew: the network is not asked again.
            slider.release(show, [image, answers, *sliders], results, api_name=False)
    return page


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="checkpoint of this project")
    parser.add_argument("--examples", nargs="*", default=[], metavar="IMAGE=SENTENCE")
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--port", type=int, default=7860)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        predictor = RefSegPredictor.from_checkpoint(arguments.weights, device=arguments.device)
    except (ValueError, OSError) as error:
        raise SystemExit(f"app: {error}") from error
    examples = [list(example.partition("=")[::2]) for example in arguments.examples]
    page = build_page(predictor, examples)
    page.launch(server_name="127.0.0.1", server_port=arguments.port, max_file_size=UPLOAD_LIMIT)


if __name__ == "__main__":
    main()
