"""How much a service takes on."""

from __future__ import annotations

from dataclasses import dataclass

from ..web.guard import MEGABYTE


@dataclass(frozen=True)
class Limits:
    """Bounds of a request and of what waits; whatever exceeds one is refused with a reason."""

    request_bytes: int = 32 * MEGABYTE
    image_side: int = 8192  # pixels
    image_pixels: int = 32_000_000
    num_expressions: int = 16  # of a request
    expression_length: int = 500  # characters
    waiting: int = 64  # questions, over all requests
    upload_seconds: float = 30.0  # for a request to arrive
    answer_seconds: float = 60.0  # from its arrival to its answer
