"""What the bands of a raster are: colours, numbers of a palette, or transparency."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

logger = logging.getLogger(__name__)

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# Colours that three bands shown as red, green and blue would falsify.
OTHER_COLOURS = {
    *(ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black),
    *(ColorInterp.hue, ColorInterp.saturation, ColorInterp.lightness),
    *(ColorInterp.Y, ColorInterp.Cb, ColorInterp.Cr),
}


def colour_bands(dataset: Any, path: Path, wanted: tuple[int, ...] | None) -> tuple[int, int, int]:
    """Numbers, from 1, of the bands that serve as red, green and blue.

    Args:
        dataset: opened by rasterio.
        path: for messages.
        wanted: by the user; None: those tagged so, else the one with a palette, else the first
            three that are not transparency, or the first for all where there are fewer.

    Raises:
        ValueError: bands that it does not have, or that cannot be seen as colours.
    """
    kinds = dataset.colorinterp
    if wanted is not None:
        if len(wanted) != 3 or not all(1 <= band <= dataset.count for band in wanted):
            raise ValueError(
                f"bands are {wanted}; three numbers from 1 to {dataset.count} are needed"
            )
        bands = list(wanted)
    elif set(RGB) <= set(kinds):
        bands = [kinds.index(kind) + 1 for kind in RGB]
    elif ColorInterp.palette in kinds:
        bands = [kinds.index(ColorInterp.palette) + 1] * 3
    else:
        if others := [kind.name for kind in kinds if kind in OTHER_COLOURS]:
            raise ValueError(
                f"{path}: its bands are {', '.join(others)}, not red, green, blue; "
                "convert it to RGB first, or say with --bands which to take as they are"
            )
        bands = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha] or [1]
        bands = bands[:3] if len(bands) >= 3 else bands[:1] * 3
    for band in bands:
        if "complex" in dataset.dtypes[band - 1]:
            raise ValueError(
                f"{path}: band {band} holds complex numbers ({dataset.dtypes[band - 1]}), which "
                "are no image; take their amplitude first and give that raster"
            )
    return bands[0], bands[1], bands[2]


def alpha_band(dataset: Any, path: Path, bands: tuple[int, ...]) -> int | None:
    """Number of the band that says where there are data; None: no band, or it is a colour.

    A fourth band of 8 bits is tagged as transparency by default, also where it is near infrared;
    so it is said aloud.
    """
    kinds = dataset.colorinterp
    if ColorInterp.alpha not in kinds or (alpha := kinds.index(ColorInterp.alpha) + 1) in bands:
        return None
    logger.warning(
        f"{path}: band {alpha} serves as transparency, as it is tagged (0: no data); if it is a "
        "colour, such as near infrared, name it in --bands, or mend its tag"
    )
    return alpha


def alpha_spoils_masks(dataset: Any, bands: tuple[int, ...]) -> bool:
    """Whether GDAL masks bands by one that is a colour here, though tagged as transparency."""
    alphas = {n for n, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha}
    is_masked = any(MaskFlags.alpha in flags for flags in dataset.mask_flag_enums)
    return is_masked and bool(alphas & set(bands))


def palette_of(dataset: Any, path: Path, band: int) -> np.ndarray | None:
    """Colours (4, number of values) uint8 RGBA of a band that counts them; else None.

    Raises:
        ValueError: it counts the colours of a table that is not there, or by other numbers than
            0, 1, 2, ...
    """
    if dataset.colorinterp[band - 1] != ColorInterp.palette:
        return None
    dtype = dataset.dtypes[band - 1]
    try:
        table = dataset.colormap(band)
    except ValueError as error:
        raise ValueError(
            f"{path}: band {band} is tagged as a palette, but has no table of colours; give "
            f"--bands {band} {band} {band} to see its numbers as grey"
        ) from error
    if dtype not in ("uint8", "uint16"):
        raise ValueError(
            f"{path}: band {band} is a palette of {dtype} numbers; needed: uint8 or uint16; "
            "convert it to RGB first"
        )
    palette = np.zeros((4, np.iinfo(dtype).max + 1), np.uint8)
    palette[3] = 255
    for value, colour in table.items():
        palette[:, value] = colour
    return palette


def white_value(dataset: Any, band: int) -> int | None:
    """The largest number of an 8-bit band that has fewer bits; None: another band."""
    bits = int(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8))
    return 2**bits - 1 if dataset.dtypes[band - 1] == "uint8" and bits < 8 else None
