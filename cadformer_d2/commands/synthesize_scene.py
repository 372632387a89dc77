"""Draw a large georeferenced scene with known objects, to try segment-raster.

    cadformer dataset synthesize-scene --side 3000 --output mosaic
    cadformer segment-raster mosaic/scene.tif "the storage tank" --weights model_best.pth \
        --mask mosaic/tanks.tif
    cadformer compare-rasters mosaic/tanks.tif mosaic/truth.tif --category "storage tank"

scene.tif has synthrs scenes side by side; truth.tif has a category per pixel, as numbers from 1
with 0 for ground. Their UTM zone and pixel size of half a metre are made up.
Needs the extra ``geo``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from tqdm import tqdm

from ..atomic_files import replace_atomically
from ..data.class_names import RRSISHR_CLASSES
from ..data.synthetic.mosaic import draw_mosaic_strips
from ..inference.mask_file import count_values, report_write_failure

CRS, PIXEL_METRES = "EPSG:32632", 0.5
UPPER_LEFT = (500_000, 5_300_000)


def _write_mosaic(folder: Path, *, side: int, scene_size: int, seed: int, without: str) -> None:
    """Write scene.tif and truth.tif.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "height": side,
        "width": side,
        "crs": CRS,
        "transform": from_origin(*UPPER_LEFT, PIXEL_METRES, PIXEL_METRES),
        "tiled": True,
        "compress": "deflate",
    }
    strips = draw_mosaic_strips(
        size=(side, side), scene_size=scene_size, seed=seed, without=without
    )
    counts = {"scene.tif": np.zeros(256, np.int64), "truth.tif": np.zeros(256, np.int64)}
    with (
        replace_atomically(folder / "scene.tif") as scene_path,
        replace_atomically(folder / "truth.tif") as truth_path,
        report_write_failure(folder / "scene.tif"),
    ):
        with (
            rasterio.open(scene_path, "w", count=3, photometric="RGB", **profile) as scene,
            rasterio.open(truth_path, "w", count=1, **profile) as truth,
        ):
            row = 0
            for pixels, category_ids in tqdm(strips, total=-(-side // scene_size), unit="row"):
                window = Window(0, row, side, len(pixels))
                scene.write(pixels.transpose(2, 0, 1), window=window)
                truth.write(category_ids, 1, window=window)
                counts["scene.tif"] += np.bincount(pixels.ravel(), minlength=256)
                counts["truth.tif"] += np.bincount(category_ids.ravel(), minlength=256)
                row += len(pixels)
        # GDAL reports success if the disk becomes full at the very end.
        for name, path in (("scene.tif", scene_path), ("truth.tif", truth_path)):
            if not np.array_equal(count_values(path), counts[name]):
                raise OSError(f"{name} does not read back as it was written; is the disk full?")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="folder")
    parser.add_argument("--side", type=int, default=3000, help="pixels")
    parser.add_argument("--scene-size", type=int, default=96, help="side of a scene, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--without",
        default="",
        choices=RRSISHR_CLASSES,
        metavar="CATEGORY",
        help="leave its objects out, to ask for what is not there",
    )
    arguments = parser.parse_args()
    options = {name: getattr(arguments, name) for name in ("side", "scene_size", "seed", "without")}
    _write_mosaic(arguments.output, **options)
