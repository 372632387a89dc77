"""From the page's input to its output: checks, answers, texts and files.

Mistakes of the user raise a gradio.Error, whose text the page shows.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio
import numpy as np

from ..atomic_files import write_atomically
from ..data.image_file import encode_image, read_image_size
from ..inference import ReferredMask, RefSegPredictor
from ..visualization import NOT_HERE

try:
    from ..inference.connected_components import trace_polygons

    FILES_LABEL = "Mask and polygons"
except ImportError:
    trace_polygons = None  # type: ignore[assignment]
    FILES_LABEL = "Mask (polygons need the extra geo)"

LARGEST_SIDE = 6000  # pixels; larger scenes are for segment-raster
LONGEST_SENTENCE = 500  # characters; the network reads about 300 of them


@dataclass(frozen=True)
class ImageAnswers:
    """An image and the answers about it."""

    image: np.ndarray  # (height, width, 3) uint8 RGB
    answers: list[ReferredMask]

    @property
    def bytes(self) -> int:
        return self.image.nbytes + sum(
            answer.probability.nbytes + answer.mask.nbytes for answer in self.answers
        )


def refusal(message: str) -> gradio.Error:
    """An error that the page shows; the server does not log it, as the user made the mistake."""
    return gradio.Error(message, print_exception=False)


def get_uploaded_file(payload: Any) -> str | None:
    """The path of the uploaded file, whatever it contains."""
    return None if payload is None else payload.path


def parse_share(value: Any) -> float:
    """Parse the value of a slider between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise refusal("Threshold and opacity are numbers between 0 and 1.")
    return float(value)


def _check_expressions(predictor: RefSegPredictor, sentences: list[str]) -> list[str]:
    """Return the sentences that are not empty, without invisible characters.

    Raises:
        gradio.Error: all are empty, or one is too long or has no word.
    """
    visible = [
        "".join(c for c in " ".join((sentence or "").split()) if c.isprintable())
        for sentence in sentences
    ]
    asked = [sentence for sentence in visible if sentence]
    if not asked:
        raise refusal("Say what you mean: the first sentence is empty.")
    if max(map(len, asked)) > LONGEST_SENTENCE:
        raise refusal(f"A sentence has more than {LONGEST_SENTENCE} characters; say it shorter.")
    if not all(map(predictor.tokenizer.word_pieces, asked)):
        raise refusal("A sentence has no word in it.")
    return asked


def _read_image(predictor: RefSegPredictor, path: str) -> np.ndarray:
    """Read the image (height, width, 3) uint8 in the network's channel order.

    Raises:
        gradio.Error: it cannot be read, or is too large.
    """
    try:
        # From the header, before loading the pixels.
        if max(read_image_size(path)) <= LARGEST_SIDE:
            return predictor.read_image(path, "RGB")
    except (ValueError, OSError) as error:
        raise refusal(
            "This file cannot be read as an image. Try a JPEG, or a PNG of 8 bits a channel."
        ) from error
    raise refusal(
        f"The image has more than {LARGEST_SIDE} pixels on a side; "
        "'cadformer segment-raster' is made for such scenes."
    )


def answer_query(
    predictor: RefSegPredictor, path: str | None, sentences: list[str]
) -> ImageAnswers:
    """Segment what each sentence refers to in the image.

    Raises:
        gradio.Error: no usable image or sentence; the page shows its text.
    """
    if not path:
        raise refusal("There is no image yet: drop one, or pick an example.")
    asked = _check_expressions(predictor, sentences)
    image = _read_image(predictor, path)
    answers = predictor(image, asked, channel_order=predictor.image_format)
    shown = image if predictor.image_format == "RGB" else image[..., ::-1]
    return ImageAnswers(np.ascontiguousarray(shown), answers)


def format_answer(predictor: RefSegPredictor, found: ReferredMask) -> str:
    """A line of HTML with the expression and the score."""
    sure = f"score {found.score:.2f}" if found.is_present else NOT_HERE
    if found.presence is not None:
        sure += f"; there with probability {found.presence:.2f}"
    tokenizer = predictor.tokenizer
    if tokenizer.is_truncated(found.expression):
        sure += f"; only its first {tokenizer.max_word_pieces} word pieces were read"
    return f"<b>{html.escape(found.expression)}</b>: {sure}"


def write_downloads(answers: list[ReferredMask], threshold: float, folder: Path) -> list[str]:
    """Write a PNG mask and, with the extra ``geo``, pixel polygons of each answer.

    Raises:
        gradio.Error: they cannot be written.
    """
    contents = {}
    for number, found in enumerate(answers, start=1):
        mask = found.probability >= threshold
        contents[f"mask{number}.png"] = encode_image(mask.astype(np.uint8) * 255, ".png")
        if trace_polygons is None:
            continue
        features = [
            {"type": "Feature", "geometry": shape, "properties": {"sentence": found.expression}}
            for shape in trace_polygons(mask)
        ]
        collection = {"type": "FeatureCollection", "features": features}
        contents[f"polygons{number}.geojson"] = json.dumps(collection).encode()
    try:
        folder = Path(mkdtemp(dir=folder))
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise refusal(f"The files of the answer cannot be written: {error.strerror}.") from error
    return [str(folder / name) for name in contents]
