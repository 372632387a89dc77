"""From the bytes of an image and expressions to samples, and from masks to JSON."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from ..data.image_file import PILLOW_ERRORS, decode_image, encode_image
from ..data.validation import quote
from ..inference import MaskPredictor, ReferredMask
from .limits import Limits


def prepare_samples(
    predictor: MaskPredictor, content: bytes, expressions: list[str], limits: Limits
) -> list[dict[str, Any]]:
    """
    Args:
        content: of an image file.

    Returns:
        a sample for each expression, as the predictor's ``predict_batch`` takes them.

    Raises:
        ValueError: no image, too large, or an expression that is none.
    """
    if not 1 <= len(expressions) <= limits.num_expressions:
        raise ValueError(f"{len(expressions)} expressions; 1 to {limits.num_expressions} are taken")
    for expression in expressions:
        if len(expression) > limits.expression_length:
            raise ValueError(
                f"the expression {quote(expression)} has more than {limits.expression_length} "
                "characters"
            )
    fields = [predictor.prepare_expression(expression) for expression in expressions]
    image = predictor.prepare_image(
        _decode(content, predictor.image_format, limits), predictor.image_format
    )
    return [{**image, **field} for field in fields]


def _decode(content: bytes, channel_order: str, limits: Limits) -> np.ndarray:
    """Pixels of an image file, whose size is checked before they are."""
    try:
        image = Image.open(io.BytesIO(content))
    except PILLOW_ERRORS as error:
        raise ValueError("the image is in no format that is known here") from error
    width, height = image.size
    if max(width, height) > limits.image_side or width * height > limits.image_pixels:
        raise ValueError(
            f"the image has {width} x {height} pixels; at most {limits.image_side} on a side and "
            f"{limits.image_pixels} in all are taken. 'cadformer segment-raster' is for scenes"
        )
    return decode_image(image, channel_order)


def answer_json(found: ReferredMask, *, with_mask: bool) -> dict[str, Any]:
    """One answer: presence, score, share of the image, polygons in pixels, maybe the mask."""
    features = [
        {"type": "Feature", "geometry": shape, "properties": {"expression": found.expression}}
        for shape in found.polygons()
    ]
    answer = {
        "expression": found.expression,
        "presence": found.presence,
        "score": found.score,
        "share": float(found.mask.mean()),
        "geojson": {"type": "FeatureCollection", "features": features},
    }
    if with_mask:
        answer["mask_png"] = base64.b64encode(mask_png(found)).decode()
    return answer


def mask_png(found: ReferredMask) -> bytes:
    """The mask as a black and white PNG of the image's size."""
    return encode_image(found.mask.astype(np.uint8) * 255, ".png")
