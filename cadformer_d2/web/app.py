"""A web page to find objects in an aerial image by expressions. Needs the extra ``web``.

    cadformer app
    cadformer app --weights model_best.pth

Drop an image or pick an example, type one sentence or two, and look. Without --weights, the model
that comes with the project answers. Listens on this machine only; from another one, 'ssh -L
7860:localhost:7860 THIS_MACHINE' and http://localhost:7860 there.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from ..checkpoint import read_trained_config
from ..data.image_file import encode_image
from ..data.refer import load_refer_records
from ..data.synthetic import SynthrsParameters, generate_synthrs
from ..data.synthetic.example_scene import draw_example_scene
from ..inference import RefSegPredictor
from ..inference.ready_model import find_ready_model
from ..visualization import PREDICTION_COLOUR, draw_mask

try:
    import gradio
    from starlette.middleware import Middleware

    from .answers import (
        FILES_LABEL,
        LONGEST_SENTENCE,
        ImageAnswers,
        answer_query,
        format_answer,
        get_uploaded_file,
        parse_share,
        refusal,
        write_downloads,
    )
    from .guard import MEGABYTE, PageGuard
    from .recent_answers import RecentAnswers
except ModuleNotFoundError as error:
    raise SystemExit(f"app: {error.name} is missing; pip install 'cadformer_d2[web]'") from error

UPLOAD_LIMIT = 30 * MEGABYTE
KEPT_LIMIT = 512 * MEGABYTE  # of images and answers; the largest image takes 470
NUM_SESSIONS = 100  # whose settings gradio keeps
NUM_WAITING = 100  # queries in the queue
HOUR = 3600  # seconds; uploads and answers are deleted after one
NUM_EXAMPLES, EXAMPLE_SEED = 3, 2025
ABOUT = """# Point with a sentence
Drop an aerial image or pick an example, say what you mean (*"the pool on the left"*), and press
**Find it**. A second sentence is shown beside the first."""


def build_page(
    predictor: RefSegPredictor, examples: list[tuple[str, str]], folder: Path
) -> gradio.Blocks:
    """Build the page.

    Args:
        examples: (path of an image, sentence) each.
        folder: exists; for uploads and downloads.
    """
    uploads = folder.resolve() / "uploads"
    uploads.mkdir(exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # gradio has no other way to say it
    recent = RecentAnswers(max_bytes=KEPT_LIMIT, max_age=HOUR)

    def draw(answered: ImageAnswers, threshold: float, opacity: float) -> tuple:
        drawn = [
            draw_mask(
                answered.image,
                found.probability >= threshold,
                colour=PREDICTION_COLOUR,
                alpha=opacity,
            )
            for found in answered.answers
        ]
        second = gradio.update(value=drawn[1] if len(drawn) > 1 else None, visible=len(drawn) > 1)
        return drawn[0], second, write_downloads(answered.answers, threshold, uploads)

    def find(
        path: str | None,
        first: str,
        second: str,
        threshold: float,
        opacity: float,
        request: gradio.Request,
    ) -> tuple:
        answered = answer_query(predictor, path, [first, second])
        recent.put(request.session_hash, answered)
        said = "<br>".join(format_answer(predictor, found) for found in answered.answers)
        return True, said, *draw(answered, threshold, opacity)

    def redraw(
        is_answered: bool, threshold: float, opacity: float, request: gradio.Request
    ) -> tuple:
        if not is_answered:
            return (gradio.skip(),) * 3
        answered = recent.get(request.session_hash)
        if answered is None:
            raise refusal("This answer is no longer kept; press Find it again.")
        return draw(answered, threshold, opacity)

    def forget(request: gradio.Request) -> None:
        recent.drop(request.session_hash)

    # Leaves these events out of the page's API; gradio's types do not allow False.
    unnamed: dict[str, Any] = {"api_name": False}
    # Without gradio's button to publish an image.
    shown_only: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"]}
    with gradio.Blocks(
        title="Point with a sentence", analytics_enabled=False, delete_cache=(HOUR, HOUR)
    ) as page:
        gradio.Markdown(ABOUT)
        is_answered = gradio.State(False)
        with gradio.Row():
            with gradio.Column():
                path = gradio.Image(
                    label="Image", type="filepath", sources=["upload", "clipboard"], height=300
                )
                # gradio would open the file itself and show a bare "Error" for a broken one;
                # answer_query() says what is wrong.
                path.preprocess = get_uploaded_file  # type: ignore[method-assign]
                first = gradio.Textbox(
                    label="Sentence",
                    placeholder="the storage tank on the left",
                    max_length=LONGEST_SENTENCE,
                )
                second = gradio.Textbox(
                    label="Another sentence, to compare (optional)", max_length=LONGEST_SENTENCE
                )
                button = gradio.Button("Find it", variant="primary")
                threshold = gradio.Slider(0.05, 0.95, 0.5, step=0.05, label="Threshold")
                opacity = gradio.Slider(0.0, 1.0, 0.45, step=0.05, label="Opacity")
                for slider in (threshold, opacity):
                    slider.preprocess = parse_share  # type: ignore[method-assign, assignment]
            with gradio.Column():
                with gradio.Row():
                    left = gradio.Image(label="Answer", **shown_only)
                    right = gradio.Image(label="Other answer", visible=False, **shown_only)
                said = gradio.HTML()
                files = gradio.Files(label=FILES_LABEL)
        if examples:
            # Images that are buttons; gradio.Examples makes rows that the keyboard cannot reach.
            picked = gradio.Dataset(
                components=["image"],
                samples=[[example_path] for example_path, _ in examples],
                label="Examples",
                type="index",
            )
            picked.click(examples.__getitem__, picked, [path, first], **unnamed)
        sliders = [threshold, opacity]
        results = [left, right, files]
        asking: dict[str, Any] = {
            "inputs": [path, first, second, *sliders],
            "outputs": [is_answered, said, *results],
            # Only one image at a time is in memory, whichever event started the query.
            "concurrency_id": "network",
            "concurrency_limit": 1,
        }
        button.click(find, **asking, api_name="find")
        first.submit(find, **asking, **unnamed)
        second.submit(find, **asking, **unnamed)
        for slider in sliders:
            # Redraws without running the network. Not "release", which only the mouse triggers:
            # arrow keys move a slider too.
            slider.change(
                redraw,
                [is_answered, *sliders],
                results,
                **unnamed,
                trigger_mode="always_last",
            )
        page.unload(forget)
    return page.queue(max_size=NUM_WAITING, api_open=False)


def serve(page: gradio.Blocks, **options: Any) -> str:
    """Launch the page for this machine only; returns its address."""
    guard = Middleware(PageGuard, uploads=Path(page.GRADIO_CACHE), upload_limit=UPLOAD_LIMIT)
    # The browser's own fonts: gradio's default ones would be downloaded.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        share=False,
        max_file_size=UPLOAD_LIMIT,
        state_session_capacity=NUM_SESSIONS,
        theme=theme,
        footer_links=[],
        app_kwargs={"middleware": [guard]},
        **options,
    )
    return address


def _draw_examples(folder: Path) -> list[tuple[str, str]]:
    """Draw synthrs scenes that no model was trained on, with an expression each."""
    parameters = SynthrsParameters(train=1, val=1, test=NUM_EXAMPLES, seed=EXAMPLE_SEED)
    generate_synthrs(folder, parameters, processes=1)
    records = load_refer_records(
        folder / "synthrs", folder / "images" / "synthrs" / "JPEGImages", split="test"
    )
    by_image = {record["file_name"]: record["expressions"][-1] for record in records}
    return list(by_image.items())


def _draw_ready_model_examples(folder: Path) -> list[tuple[str, str]]:
    """Draw the demo's scene, with an expression that the ready model answers."""
    path = folder / "scene.png"
    path.write_bytes(encode_image(draw_example_scene(), ".png"))
    return [(str(path), "the ground track field")]


def _parse_example(text: str) -> tuple[str, str]:
    """Parse IMAGE=SENTENCE."""
    path, _, sentence = text.partition("=")
    if not (Path(path).is_file() and sentence):
        raise argparse.ArgumentTypeError(f"{text}: expected an image file, =, and a sentence")
    return path, sentence


def _parse_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 to 65535")
    return int(text)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", help="checkpoint, folder or Hugging Face name; default: the ready model"
    )
    parser.add_argument(
        "--examples",
        nargs="+",
        type=_parse_example,
        metavar="IMAGE=SENTENCE",
        help="to pick from; default: drawn scenes where the model knows such",
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--port", type=_parse_port, default=7860)
    return parser.parse_args()


def _stop(number: int, _: Any) -> NoReturn:
    """Exit on a signal by an exception, so that temporary files are removed."""
    raise SystemExit(128 + number)


def main() -> None:
    arguments = _parse_arguments()
    for name in ("SIGTERM", "SIGHUP"):  # Windows has but the first; nohup ignores the second
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    weights = arguments.weights or find_ready_model()
    predictor = RefSegPredictor.from_checkpoint(weights, device=arguments.device)
    with TemporaryDirectory(prefix="cadformer_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if arguments.examples:
            examples = arguments.examples
        elif "synthrs_train" in read_trained_config(weights).DATASETS.TRAIN:
            examples = _draw_examples(folder)
        elif arguments.weights:
            examples = []
        else:
            examples = _draw_ready_model_examples(folder)
        page = build_page(predictor, examples, folder)
        try:
            serve(page, server_port=arguments.port, prevent_thread_lock=True)
            threading.Event().wait()
        finally:
            page.close(verbose=False)
