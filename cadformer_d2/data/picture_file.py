"""Picture files <-> 8-bit pixels; the one place that knows how Pillow fails and what it leaves."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from detectron2.data import detection_utils
from PIL import ExifTags, Image

DEEP_COLOURS = re.compile(r"\b(?:RGB\w*|LA|CMYK\w*);16")  # in the file, by Pillow's names
# What Pillow's decoders raise on broken files: SyntaxError on some headers, RuntimeError on AVIF,
# and what Python raises where bytes are missing. Very large pictures it refuses.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError),
    *(EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, struct.error),
)
# What puts a picture upright, by the Orientation of its EXIF data.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAP_SIDES = (5, 6, 7, 8)


def read_picture(path: str | os.PathLike, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of an image file, turned as its EXIF data say.

    Args:
        channel_order: "RGB" or "BGR".

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, cut off, too large, or of more than 8 bits a value.
    """
    with reported_as_unreadable(path), open_picture(path) as picture:
        return picture_pixels(picture, channel_order)


def picture_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of what ``read_picture`` gives, from the file's header.

    Raises: as read_picture.
    """
    with reported_as_unreadable(path), open_picture(path) as picture:
        # Of a TIFF the size is that of the turned picture already.
        is_swapped = orientation(picture) in SWAP_SIDES and picture.format != "TIFF"
        width, height = picture.size[::-1] if is_swapped else picture.size
        return height, width


def open_picture(path: str | os.PathLike) -> Image.Image:
    """Pillow's image of a file; a pipe, which would be waited for without end, is none."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no regular file")
    return Image.open(path)


def picture_pixels(picture: Image.Image, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of a Pillow image, turned as its EXIF data say.

    Transparency is left out: what lies under it counts.

    Raises:
        ValueError: damaged, or of more than 8 bits a value.
    """
    with reported_as_unreadable(getattr(picture, "filename", "") or "the picture"):
        refuse_deep_values(picture)
        picture.load()  # before the orientation is read: Pillow turns a TIFF while loading it
        turn = TURNS.get(orientation(picture))
        upright = picture if turn is None else picture.transpose(turn)
        return detection_utils.convert_PIL_to_numpy(upright, channel_order)


def encoded_picture(pixels: np.ndarray, ending: str, *, jpeg_quality: int = 95) -> bytes:
    """What a picture file holds. OpenCV, writing itself, would not notice a full disk.

    Args:
        pixels: (H, W) or, in RGB, (H, W, 3) uint8.
        ending: of the file's name, ".png" or ".jpg".
        jpeg_quality: of a JPEG, in [0, 100].
    """
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    is_encoded, content = cv2.imencode(ending, ordered, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    assert is_encoded, "eight bits a value are what these files hold"
    return content.tobytes()


def orientation(picture: Image.Image) -> int:
    """The number under Orientation in a picture's EXIF data; 1, upright, where there is none."""
    try:
        found = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except PILLOW_ERRORS:  # damaged EXIF data are none
        return 1
    return found if isinstance(found, int) else 1


def refuse_deep_values(picture: Image.Image) -> None:
    """Raise ValueError for integers of 16 or 32 bits and for floats.

    Pillow cuts them at 255, which turns most of such a picture white, or keeps the upper 8 of 16
    bits of a colour, which turns it black.
    """
    is_deep = picture.mode in ("I", "F") or picture.mode.startswith("I;")
    if is_deep or DEEP_COLOURS.search(str(getattr(picture, "tile", ""))):
        raise ValueError(
            f"its values have more than 8 bits (Pillow's mode {picture.mode}); stretch them to 8, "
            "or give the file to 'cadformer segment-raster', which does"
        )


@contextmanager
def reported_as_unreadable(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever Pillow raises on a file into a ValueError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PILLOW_ERRORS as error:
        if str(error).startswith(f"{path} cannot be read"):  # said inside already
            raise
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
