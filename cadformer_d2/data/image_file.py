"""Image files <-> 8-bit pixels; the only module that knows how Pillow fails."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import ExifTags, Image

DEEP_COLOURS = re.compile(r"\b(?:RGB\w*|LA|CMYK\w*);16")  # in the file, by Pillow's names
# What Pillow's decoders raise on broken files: SyntaxError on some headers, RuntimeError on AVIF,
# and what Python raises where bytes are missing. Pillow refuses very large images.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError),
    *(EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, struct.error),
)
# What turns an image upright, by the EXIF tag Orientation.
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
CHANNELS = {"RGB": slice(None), "BGR": slice(None, None, -1)}  # by the wanted order


def read_image(path: str | os.PathLike, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of an image file, turned as its EXIF data say.

    Args:
        channel_order: "RGB" or "BGR".

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, cut off, too large, or of more than 8 bits a value.
    """
    with _report_as_unreadable(path), _open_image(path) as image:
        return decode_image(image, channel_order)


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of what ``read_image`` gives, from the file's header.

    Raises: as read_image.
    """
    with _report_as_unreadable(path), _open_image(path) as image:
        # Pillow gives the size of a TIFF after turning it.
        is_swapped = _exif_orientation(image) in SWAP_SIDES and image.format != "TIFF"
        width, height = image.size[::-1] if is_swapped else image.size
        return height, width


def _open_image(path: str | os.PathLike) -> Image.Image:
    """Open a file with Pillow, but not a pipe, which would block for ever."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("not a regular file")
    return Image.open(path)


def decode_image(image: Image.Image, channel_order: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8, read-only, of a Pillow image, turned as its EXIF data say.

    Transparency is ignored: the colour under it counts.

    Raises:
        ValueError: damaged, or of more than 8 bits a value.
    """
    with _report_as_unreadable(getattr(image, "filename", "") or "the image"):
        _refuse_deep_values(image)
        image.load()  # before the orientation is read: Pillow turns a TIFF while loading it
        turn = TURNS.get(_exif_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        pixels = np.asarray(upright.convert("RGB"))
        return pixels[..., CHANNELS[channel_order]]


def encode_image(pixels: np.ndarray, ending: str, *, jpeg_quality: int = 95) -> bytes:
    """The bytes of an image file. OpenCV, if it wrote the file, would not notice a full disk.

    Args:
        pixels: (H, W) or, in RGB, (H, W, 3) uint8.
        ending: of the file name, ".png" or ".jpg".
        jpeg_quality: of a JPEG, in [0, 100].
    """
    ordered = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    options = [] if ending == ".png" else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    is_encoded, content = cv2.imencode(ending, ordered, options)
    assert is_encoded, "PNG and JPEG hold 8-bit values"
    return content.tobytes()


def _exif_orientation(image: Image.Image) -> int:
    """The EXIF tag Orientation; 1, upright, without one."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except PILLOW_ERRORS:  # damaged EXIF data count as none
        return 1
    return found if isinstance(found, int) else 1


def _refuse_deep_values(image: Image.Image) -> None:
    """Raise ValueError for integers of 16 or 32 bits and for floats.

    Pillow clips them at 255, which turns most of the image white, or keeps the upper 8 of 16 bits
    of a colour, which turns it black.
    """
    is_deep = image.mode in ("I", "F") or image.mode.startswith("I;")
    if is_deep or DEEP_COLOURS.search(str(getattr(image, "tile", ""))):
        raise ValueError(
            f"its values have more than 8 bits (Pillow mode {image.mode}); convert it to 8 bits, "
            "or give the file to 'cadformer segment-raster', which stretches it"
        )


@contextmanager
def _report_as_unreadable(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever Pillow raises on a file into a ValueError that names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PILLOW_ERRORS as error:
        if str(error).startswith(f"{path} cannot be read"):  # raised by decode_image inside
            raise
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
