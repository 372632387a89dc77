"""Writes small georeferenced scenes with bright targets on dark ground, for tests to map."""

import numpy as np
import rasterio
from rasterio.transform import Affine

UTM = "EPSG:32632"
TRANSFORM = Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)  # half a metre a pixel
HEIGHT, WIDTH = 300, 1300  # wider than a block, so that components meet at its seam
TARGETS = ((100, 980, 60, 100), (20, 200, 30, 40))  # row, column, height, width
DARK, BRIGHT = 50, 200


def truth():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for row, column, height, width in TARGETS:
        mask[row : row + height, column : column + width] = True
    return mask


def write_scene(
    path,
    *,
    dtype="uint8",
    scale=1,
    bands=3,
    crs=UTM,
    transform=TRANSFORM,
    nodata=None,
    hole=None,
    **profile,
):
    """
    Args:
        scale: factor of all values.
        hole: row, column, height, width of pixels that hold ``nodata``.
        profile: further creation options.
    """
    values = np.where(truth(), BRIGHT * scale, DARK * scale).astype(dtype)
    if hole is not None:
        row, column, height, width = hole
        values[row : row + height, column : column + width] = nodata
    profile |= {"driver": "GTiff", "dtype": dtype, "count": bands, "nodata": nodata}
    if crs is not None:
        profile |= {"crs": crs, "transform": transform}
    with rasterio.open(path, "w", height=HEIGHT, width=WIDTH, **profile) as target:
        target.write(np.stack([values] * bands))
    return path


def bright(pixels):
    """Probabilities of a network that finds the targets."""
    return (pixels.mean(axis=2) > (DARK + BRIGHT) / 2).astype(np.float32) * 0.9
