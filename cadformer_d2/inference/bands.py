"""The meaning of a raster's bands: colours, palette indices, or transparency.

Needs the extra ``geo``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .named_url import NamedUrl

try:
    from rasterio import DatasetReader
    from rasterio.enums import ColorInterp
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

UNNAMED = ColorInterp.undefined
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
# Bands that must not be read as red, green and blue.
OTHER_COLOURS = {
    *(ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black),
    *(ColorInterp.hue, ColorInterp.saturation, ColorInterp.lightness),
    *(ColorInterp.Y, ColorInterp.Cb, ColorInterp.Cr),
}


def choose_colour_bands(
    path: Path | NamedUrl, dataset: DatasetReader, wanted: tuple[int, ...] | None
) -> tuple[int, int, int]:
    """Choose the bands, numbered from 1, that serve as red, green and blue.

    Args:
        wanted: by the user; None: those that the file calls red, green and blue; else the first
            three that are not transparency; with fewer than three, the first one for all.

    Raises:
        ValueError: the raster does not have these bands, or they cannot serve as colours.
    """
    kinds = list(dataset.colorinterp)
    if wanted is not None:
        if len(wanted) != 3 or not all(1 <= band <= dataset.count for band in wanted):
            raise ValueError(
                f"bands are {wanted}; expected three numbers from 1 to {dataset.count}"
            )
        bands = list(wanted)
    elif all(colour in kinds for colour in COLOURS):
        bands = [kinds.index(colour) + 1 for colour in COLOURS]
    elif others := [kind.name for kind in kinds if kind in OTHER_COLOURS]:
        raise ValueError(
            f"{path} has bands called {', '.join(others)}, not red, green, blue; convert it to RGB "
            "first, or choose bands to use as they are (--bands)"
        )
    else:
        bands = [band for band, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha] or [1]
        bands = bands[:3] if len(bands) >= 3 else bands[:1] * 3
    _refuse_complex_values(path, {dataset.dtypes[band - 1] for band in bands})
    return bands[0], bands[1], bands[2]


def alpha_bands(dataset: DatasetReader) -> set[int]:
    """Numbers, from 1, of the bands that the file calls transparency."""
    return {band for band, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha}


def _refuse_complex_values(path: Path | NamedUrl, types: set[str]) -> None:
    """Raise ValueError for complex values, as radar images have."""
    odd = sorted(name for name in types if "complex" in name)
    if odd:
        raise ValueError(
            f"{path} has complex values ({odd[0]}); compute the amplitude first, for example with "
            "gdal_calc.py --calc 'abs(A)'"
        )


def few_bit_limits(dataset: DatasetReader, bands: tuple[int, ...]) -> np.ndarray | None:
    """Black and white values (3, 2) of bytes that use fewer than 8 bits; else None."""
    if {dataset.dtypes[band - 1] for band in bands} != {"uint8"}:
        return None
    bits = [int(dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8)) for band in bands]
    if min(bits) == 8:
        return None
    return np.array([(0, 2**number - 1) for number in bits], float)


def read_palette(dataset: DatasetReader) -> np.ndarray | None:
    """Read the RGBA palette (4, number of values) uint8 of a raster; None if it has none.

    Raises:
        ValueError: the first band is a palette index, but the palette is missing or too large.
    """
    first, *others = dataset.colorinterp
    # A second band is transparency, whether or not the file calls it so.
    if first != ColorInterp.palette or others not in ([], [ColorInterp.alpha], [UNNAMED]):
        return None
    if dataset.dtypes[0] not in ("uint8", "uint16"):
        raise ValueError(
            f"{dataset.name} has a palette for values of type {dataset.dtypes[0]}; only 8 and 16 "
            "bits are supported. Convert it to RGB, for example with gdal_translate -expand rgb"
        )
    try:
        table = dataset.colormap(1)
    except ValueError as error:
        raise ValueError(
            f"{dataset.name} says that its values are palette indices but has no palette; add a "
            "colour table, or call the band gray (gdal_edit.py -colorinterp_1 gray)"
        ) from error
    palette = np.zeros((4, np.iinfo(dataset.dtypes[0]).max + 1), np.uint8)
    palette[3] = 255
    for value, colour in table.items():
        palette[:, value] = colour
    return palette
