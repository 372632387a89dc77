"""Picture files -> 8-bit pixels; the one place that knows how Pillow fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from detectron2.data import detection_utils
from PIL import Image

DEEP_COLOURS = re.compile(r"\b(?:RGB\w*|LA|CMYK\w*);16")  # in the file, by Pillow's names
# Pillow raises SyntaxError on some broken headers, and refuses very large pictures.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_picture(path: str | os.PathLike, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of an image file, turned as its EXIF data say.

    Args:
        channel_order: "RGB" or "BGR".

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, cut off, too large, or of more than 8 bits a value.
    """
    with reported_as_unreadable(path):
        with Image.open(path) as picture:  # reads the header only
            refuse_deep_values(picture)
        return detection_utils.read_image(os.fspath(path), channel_order)


def picture_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an image file, from its header.

    Raises: as read_picture.
    """
    with reported_as_unreadable(path), Image.open(path) as picture:
        return picture.height, picture.width


def picture_pixels(picture: Image.Image, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of a Pillow image.

    Raises:
        ValueError: more than 8 bits a value.
    """
    refuse_deep_values(picture)
    return detection_utils.convert_PIL_to_numpy(picture, channel_order)


def refuse_deep_values(picture: Image.Image) -> None:
    """Raise ValueError for integers of 16 or 32 bits and for floats.

    Pillow cuts them at 255, which turns most of such a picture white, or keeps the upper 8 of 16
    bits of a colour, which turns it black.
    """
    is_deep = picture.mode in ("I", "F") or picture.mode.startswith("I;")
    if is_deep or DEEP_COLOURS.search(str(picture.tile)):
        raise ValueError(
            f"its values have more than 8 bits (Pillow's mode {picture.mode}); stretch them to 8, "
            "or give the file to tools/segment_raster.py, which does"
        )


@contextmanager
def reported_as_unreadable(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever Pillow raises on a file into a ValueError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
