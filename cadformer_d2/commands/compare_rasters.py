"""Measure the agreement of a mask with another one or with the truth.

    cadformer compare-rasters mask.tif other.tif
    cadformer compare-rasters mask.tif truth.tif --value 6
    cadformer compare-rasters mosaic/tanks.tif mosaic/truth.tif --category "storage tank"

Compares the pixels that both have, by their place on the map. A mask's targets are 1; pixels that
are nodata in either file are left out. Needs the extra ``geo``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as RasterWindow

from ..data.class_names import RRSISHR_CLASSES
from ..inference.tiling import Window, block_windows

BLOCK_SIDE = 1024  # pixels compared at once
LARGEST_SHIFT = 0.01  # of a pixel, between grids that count as the same


@dataclass
class Agreement:
    """Counts of the compared pixels."""

    num_pixels: int = 0
    intersection: int = 0
    union: int = 0

    def add(self, mask: np.ndarray, other: np.ndarray, is_valid: np.ndarray) -> None:
        self.num_pixels += int(is_valid.sum())
        self.intersection += int((mask & other & is_valid).sum())
        self.union += int(((mask | other) & is_valid).sum())

    @property
    def iou(self) -> float:
        """In [0, 1]; 1 if neither has a target."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def share_differing(self) -> float:
        return (self.union - self.intersection) / self.num_pixels if self.num_pixels else 0.0


def _find_common_windows(
    mask: rasterio.DatasetReader, other: rasterio.DatasetReader
) -> tuple[Window, Window]:
    """Find the area that both cover, in pixels of each.

    Raises:
        ValueError: different CRS or grids, or no overlap.
    """
    if mask.crs != other.crs:
        raise ValueError(f"{mask.name} is in {mask.crs}, {other.name} in {other.crs}")
    relative = ~mask.transform @ other.transform
    column, row = relative.c, relative.f
    corner = relative @ (other.width, other.height)
    exact = np.array([column, row, column + other.width, row + other.height])
    if np.abs([*exact[:2], *corner] - np.round(exact)).max() > LARGEST_SHIFT:
        raise ValueError(f"{mask.name} and {other.name} have different pixels; resample one first")
    place = Window(round(row), round(column), other.height, other.width)
    common = place.overlap(Window(0, 0, mask.height, mask.width))
    if common is None:
        raise ValueError(f"{mask.name} and {other.name} have no pixel in common")
    rows, columns = common.within(place)
    return common, Window(rows.start, columns.start, common.height, common.width)


def compare_rasters(mask_path: Path, other_path: Path, *, value: int = 1) -> Agreement:
    """Compare a mask's targets with the pixels of another raster that have a value.

    Raises:
        ValueError: they are not on the same grid.
        OSError: a file cannot be read.
    """
    agreement = Agreement()
    with rasterio.open(mask_path) as mask, rasterio.open(other_path) as other:
        in_mask, in_other = _find_common_windows(mask, other)
        for block in block_windows((in_mask.height, in_mask.width), BLOCK_SIDE):
            (first, first_valid), (second, second_valid) = (
                _read_block(dataset, block, whole)
                for dataset, whole in ((mask, in_mask), (other, in_other))
            )
            agreement.add(first == 1, second == value, first_valid & second_valid)
    return agreement


def _read_block(
    dataset: rasterio.DatasetReader, block: Window, whole: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Read values and validity of a block relative to the corner of ``whole``."""
    window = RasterWindow(
        whole.column + block.column, whole.row + block.row, block.width, block.height
    )
    return dataset.read(1, window=window), dataset.read_masks(1, window=window) > 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mask", type=Path)
    parser.add_argument("other", type=Path)
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--value", type=int, default=1, help="of the other's targets")
    target.add_argument(
        "--category", choices=RRSISHR_CLASSES, help="whose pixels in a synthrs mosaic"
    )
    arguments = parser.parse_args()
    value = RRSISHR_CLASSES.index(arguments.category) + 1 if arguments.category else arguments.value
    agreement = compare_rasters(arguments.mask, arguments.other, value=value)
    print(
        f"{agreement.num_pixels} pixels, IoU {agreement.iou:.4f}, "
        f"{agreement.share_differing:.4%} differ"
    )
