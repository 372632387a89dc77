"""An HTML page of masks side by side, to accept or reject at a glance without a server."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np
from pydantic import TypeAdapter

from ...data.image_file import encode_image
from ...data.validation import quote
from ...visualization import PREDICTION_COLOUR, draw_mask
from ..boxes import box_window, grow_box
from ..images import decode_mask, read_rgb
from ..workspace import ACCEPTED, REJECTED
from .items import Answer, ReviewImage, ReviewItem, read_labels

PAGE, DECISIONS = "contact_sheet.html", "decisions.json"
# Margin around a box as a share of its sides, and its minimum in pixels.
MARGIN, LEAST_MARGIN = 0.5, 16
LARGEST_SIDE = 384  # pixels of an image on the page
JPEG_QUALITY = 85
_DECISIONS = TypeAdapter(dict[str, str])  # verdict by target


def export_contact_sheet(images: Sequence[ReviewImage], source: Path, folder: Path) -> None:
    """Write one self-contained HTML file, the worst masks first.

    Args:
        source: folder of the images.
        folder: exists.
    """
    cards = [card for image in images for card in _make_cards(image, source)]
    cards.sort(key=lambda card: card["score"])
    template = (Path(__file__).parent / "contact_sheet.html.jinja").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(cards=cards, decisions_file=DECISIONS)
    (folder / PAGE).write_text(page, encoding="utf-8")


def _make_cards(image: ReviewImage, source: Path) -> Iterator[dict]:
    """Make the page's entry for each target of an image."""
    pixels = read_rgb(source / image.name)
    for item in image.items:
        window = box_window(_box_with_margin(item), image.height, image.width)
        crop, mask = pixels[window], decode_mask(item.mask)[window]
        yield {
            "target_id": str(item.target_id),  # a text, because JavaScript rounds large numbers
            "image": image.name,
            "category": item.category,
            "sentences": item.sentences,
            "score": item.score,
            "reasons": item.reasons,
            "plain": _encode_data_uri(
                draw_mask(crop, np.zeros_like(mask), colour=PREDICTION_COLOUR)
            ),
            "marked": _encode_data_uri(draw_mask(crop, mask, colour=PREDICTION_COLOUR)),
        }


def _box_with_margin(item: ReviewItem) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = grow_box(item.box_xyxy, MARGIN)
    return (
        max(0.0, x1 - LEAST_MARGIN),
        max(0.0, y1 - LEAST_MARGIN),
        x2 + LEAST_MARGIN,
        (y2 + LEAST_MARGIN),
    )


def _encode_data_uri(image: np.ndarray) -> str:
    """Encode an image (H, W, 3) uint8 RGB for embedding in the page."""
    scale = LARGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    content = encode_image(image, ".jpg", jpeg_quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def import_contact_sheet(images: Sequence[ReviewImage], folder: Path) -> Iterator[Answer]:
    """Read the answers of every target that was accepted or rejected on the page.

    Raises:
        FileNotFoundError: the page's saved file is not in the folder.
        ValueError: it has unknown targets or verdicts.
    """
    path = folder / DECISIONS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; save it from {PAGE} and put it there")
    items = {str(item.target_id): item for image in images for item in image.items}
    for target_id, verdict in read_labels(path, _DECISIONS).items():
        if target_id not in items:
            raise ValueError(f"{path}: target {quote(target_id)} is not on this page")
        if verdict not in (ACCEPTED, REJECTED):
            raise ValueError(
                f"{path}: target {target_id} is {quote(verdict)}; expected {ACCEPTED} or {REJECTED}"
            )
        item = items[target_id]
        mask = decode_mask(item.mask)
        if verdict == ACCEPTED and not mask.any():
            raise ValueError(f"{path}: target {target_id} is accepted, but its mask is empty")
        yield Answer(item, mask if verdict == ACCEPTED else None, verdict == REJECTED)
