#!/usr/bin/env python3
"""A web page to point at things in an aerial image. Needs the extra ``web``.

    python demo/app.py --weights model_best.pth

Drop an image or pick an example, type one sentence or two, and look. Listens on this machine only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import cv2
import numpy as np

from cadformer_d2.checkpoint import trained_config
from cadformer_d2.data.picture_file import picture_size
from cadformer_d2.data.refer import load_refer_records
from cadformer_d2.data.synthetic import SynthrsParameters, generate_synthrs
from cadformer_d2.inference import ReferredMask, RefSegPredictor
from cadformer_d2.visualization import enlarged

try:
    import gradio
except ModuleNotFoundError as error:
    raise SystemExit("app: gradio is missing; pip install 'cadformer_d2[web]'") from error
try:
    from cadformer_d2.inference.pieces import mask_polygons

    FILES_LABEL = "Mask and polygons"
except ImportError:
    mask_polygons, FILES_LABEL = None, "Mask (polygons need the extra geo)"

LARGEST_SIDE = 6000  # pixels; larger scenes are for tools/segment_raster.py
UPLOAD_LIMIT = "30mb"
HOUR = 3600  # seconds; uploads are deleted after one
NUM_EXAMPLES, EXAMPLE_SEED = 3, 2025
COLOUR = np.array([242, 38, 64], np.float32)  # of the mask
ABOUT = """# Point with a sentence
Drop an aerial image or pick an example, say what you mean (*"the pool on the left"*), and press
**Find it**. A second sentence is shown beside the first."""


def uploaded_file(payload: Any) -> str | None:
    """The path of what was uploaded, whatever it is."""
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
        is_small = max(picture_size(path)) <= LARGEST_SIDE
        image = predictor.read(path, "RGB") if is_small else None
    except (ValueError, OSError) as error:
        raise gradio.Error(
            "This file cannot be read as an image. Try a JPEG, or a PNG of 8 bits a channel."
        ) from error
    if image is None:
        raise gradio.Error(
            f"The image has more than {LARGEST_SIDE} pixels on a side; "
            "tools/segment_raster.py is made for such scenes."
        )
    answers = predictor(image, asked, channel_order=predictor.image_format)
    shown = image if predictor.image_format == "RGB" else image[..., ::-1]
    return np.ascontiguousarray(shown), answers


def verdict(found: ReferredMask) -> str:
    """How sure the network is, in words a person reads."""
    return f"score {found.score:.2f}" if found.mask.any() else "nothing found"


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


def downloads(answers: list[ReferredMask], threshold: float, folder: Path) -> list[str]:
    """A PNG mask and, with the extra ``geo``, pixel polygons of each answer."""
    files = []
    for number, found in enumerate(answers, start=1):
        mask = found.probability >= threshold
        files.append(folder / f"mask{number}.png")
        cv2.imwrite(str(files[-1]), mask.astype(np.uint8) * 255)
        if mask_polygons is None:
            continue
        features = [
            {"type": "Feature", "geometry": shape, "properties": {"sentence": found.expression}}
            for shape in mask_polygons(mask)
        ]
        files.append(folder / f"polygons{number}.geojson")
        files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return [str(file) for file in files]


def build_page(
    predictor: RefSegPredictor, examples: list[tuple[str, str]], folder: Path
) -> gradio.Blocks:
    """The page.

    Args:
        examples: (path of an image, sentence) each.
        folder: for what can be downloaded.
    """

    def show(image: Any, answers: Any, threshold: float, opacity: float) -> tuple:
        if not answers:
            return None, gradio.skip(), None
        drawn = [
            overlay(image, found.probability, threshold=threshold, opacity=opacity)
            for found in answers
        ]
        second = gradio.update(value=drawn[1] if len(drawn) > 1 else None, visible=len(drawn) > 1)
        return drawn[0], second, downloads(answers, threshold, Path(mkdtemp(dir=folder)))

    def find(path: str | None, first: str, second: str, threshold: float, opacity: float) -> tuple:
        image, answers = answer(predictor, path, [first, second])
        said = "  \n".join(f"**{found.expression}**: {verdict(found)}" for found in answers)
        return image, answers, said, *show(image, answers, threshold, opacity)

    # Without gradio's button to publish a picture.
    shown_only = {"interactive": False, "buttons": ["download", "fullscreen"]}
    with gradio.Blocks(
        title="Point with a sentence", analytics_enabled=False, delete_cache=(HOUR, HOUR)
    ) as page:
        gradio.Markdown(ABOUT)
        image, answers = gradio.State(), gradio.State()
        with gradio.Row():
            with gradio.Column():
                path = gradio.Image(
                    label="Image", type="filepath", sources=["upload", "clipboard"], height=300
                )
                # gradio would open the file itself and show a bare "Error" for a broken one; what
                # is wrong with it is for answer() to say.
                path.preprocess = uploaded_file
                first = gradio.Textbox(label="Sentence", placeholder="the storage tank on the left")
                second = gradio.Textbox(label="Another sentence, to compare (optional)")
                button = gradio.Button("Find it", variant="primary")
                threshold = gradio.Slider(0.05, 0.95, 0.5, step=0.05, label="Threshold")
                opacity = gradio.Slider(0.0, 1.0, 0.45, step=0.05, label="Opacity")
            with gradio.Column():
                with gradio.Row():
                    left = gradio.Image(label="Answer", **shown_only)
                    right = gradio.Image(label="Other answer", visible=False, **shown_only)
                said = gradio.Markdown()
                files = gradio.Files(label=FILES_LABEL)
        if examples:
            # Pictures that are buttons; gradio.Examples makes rows that the keyboard cannot reach.
            picked = gradio.Dataset(
                components=["image"],
                samples=[[example_path] for example_path, _ in examples],
                label="Examples",
                type="index",
            )
            picked.click(examples.__getitem__, picked, [path, first], api_name=False)
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
            # Only drawn anew: the network is not asked again. Arrow keys move a slider, too, and
            # "release" is the mouse's alone.
            slider.change(
                show,
                [image, answers, *sliders],
                results,
                api_name=False,
                trigger_mode="always_last",
            )
    return page


def serve(page: gradio.Blocks, **options: Any) -> str:
    """Launch the page on this machine alone; returns its address."""
    # The browser's own fonts: gradio's usual ones would be fetched from the internet.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    _, address, _ = page.launch(
        server_name="127.0.0.1", max_file_size=UPLOAD_LIMIT, theme=theme, footer_links=[], **options
    )
    return address


def drawn_examples(folder: Path) -> list[tuple[str, str]]:
    """Scenes of the generated dataset that nobody trained on, with a sentence each."""
    parameters = SynthrsParameters(train=1, val=1, test=NUM_EXAMPLES, seed=EXAMPLE_SEED)
    generate_synthrs(folder, parameters, processes=1)
    records = load_refer_records(
        folder / "synthrs", folder / "images" / "synthrs" / "JPEGImages", split="test"
    )
    by_image = {record["file_name"]: record["expressions"][-1] for record in records}
    return list(by_image.items())


def example(text: str) -> tuple[str, str]:
    """IMAGE=SENTENCE as a pair."""
    path, _, sentence = text.partition("=")
    if not (Path(path).is_file() and sentence):
        raise argparse.ArgumentTypeError(f"{text}: expected an image file, =, and a sentence")
    return path, sentence


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="checkpoint of this project")
    parser.add_argument(
        "--examples",
        nargs="+",
        type=example,
        metavar="IMAGE=SENTENCE",
        help="to pick from; default: drawn scenes where the model was trained on such",
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--port", type=int, default=7860)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    try:
        predictor = RefSegPredictor.from_checkpoint(arguments.weights, device=arguments.device)
    except (ValueError, OSError) as error:
        raise SystemExit(f"app: {error}") from error
    with TemporaryDirectory(prefix="cadformer_") as name:
        folder = Path(name)
        if arguments.examples:
            examples = arguments.examples
        elif "synthrs_train" in trained_config(arguments.weights).DATASETS.TRAIN:
            examples = drawn_examples(folder)
        else:
            examples = []
        serve(build_page(predictor, examples, folder), server_port=arguments.port)


if __name__ == "__main__":
    main()
