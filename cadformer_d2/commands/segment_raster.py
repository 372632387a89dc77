"""Map what an expression refers to in a large georeferenced raster.

    cadformer segment-raster SCENE.tif "the storage tank" --mask mask.tif --vector tanks.geojson \
        --weights model_best.pth

The mask is a Cloud-Optimized GeoTIFF with the scene's CRS, transform and size. Polygons are GeoJSON
(longitude, latitude) or a GeoPackage in the scene's CRS. --resume continues an interrupted run,
which loses one batch of tiles at most. --overwrite replaces existing files; the other layers of a
GeoPackage stay.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..inference import RefSegPredictor
from ..inference.ready_model import find_ready_model
from ..precision import DTYPES
from ..pretrained_folder import weights_files, weights_hash

try:
    from ..inference.mask_file import MaskFile
    from ..inference.output_files import (
        MASK_ENDINGS,
        refuse_unsafe_outputs,
        remove_leftovers_beside,
    )
    from ..inference.raster import Scene, limited_cache
    from ..inference.raster_segmentation import (
        MODES,
        Segmenter,
        TilePlan,
        assemble_components,
        describe_job,
        find_place_words,
        segment_tiles,
    )
    from ..inference.tile_store import TileStore
    from ..inference.vector import refuse_impossible_vector, write_vector
except ImportError as error:
    raise SystemExit(f"error: {error}") from error

DEFAULT_OVERLAP = 0.25  # of a tile
SMALLEST_TILE = 8  # pixels of the scene; a smaller tile has hardly more than one colour
LARGEST_ROTATION = 20  # degrees; beyond it, "topmost" no longer means north


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argument type for numbers above 0."""

    def parse(text: str) -> float:
        if not 0 < (number := kind(text)) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
        return number

    return parse


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="raster, anything GDAL reads")
    parser.add_argument("expression", help="what is looked for, a sentence")
    parser.add_argument(
        "--weights", help="checkpoint, folder or Hugging Face name; default: the ready model"
    )
    parser.add_argument("--mask", type=Path, help=".tif to write")
    parser.add_argument("--vector", type=Path, help=".geojson or .gpkg to write")
    parser.add_argument("--mode", default="tiles", choices=MODES)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--tile", type=_positive(int), help="side in pixels of the scene; default: network's input"
    )
    size.add_argument(
        "--gsd", type=_positive(float), help="metres on the ground a pixel that the network sees"
    )
    parser.add_argument(
        "--overlap", type=int, help="of tiles, pixels of the scene; default: a quarter of a tile"
    )
    parser.add_argument("--bands", nargs=3, type=int, help="numbers of red, green, blue, from 1")
    parser.add_argument(
        "--stretch", nargs=2, type=float, metavar=("LOW", "HIGH"), help="percentiles to stretch"
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=_positive(int), default=1, help="tiles asked at once")
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES), help="of products")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network first, which takes minutes",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs of an earlier run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    return parser.parse_args()


def _plan_tiles(
    arguments: argparse.Namespace, scene: Scene, network_size: tuple[int, int]
) -> TilePlan:
    """Plan the tiles of the scene.

    Raises:
        ValueError: options have no effect or contradict each other.
    """
    if arguments.mode == "whole":
        if arguments.tile or arguments.gsd or arguments.overlap is not None:
            raise ValueError("--mode whole has no tiles; remove --tile, --gsd and --overlap")
        return TilePlan(mode="whole")
    height, width = network_size
    if arguments.tile:
        height, width = arguments.tile, arguments.tile
    if arguments.gsd:
        metres = scene.placement.pixel_metres
        if metres is None:
            raise ValueError(
                f"{scene.path} has no CRS that gives metres on the ground, which --gsd needs; use "
                "--tile"
            )
        height, width = (
            round(length * arguments.gsd / of_a_pixel)
            for length, of_a_pixel in zip(network_size, metres, strict=True)
        )
        if min(height, width) < SMALLEST_TILE:
            raise ValueError(
                f"--gsd {arguments.gsd} gives tiles of {height} x {width} pixels of "
                f"{metres[0]:.3g} x {metres[1]:.3g} m; at least {SMALLEST_TILE} are needed"
            )
    if arguments.overlap is None:
        overlap = (int(height * DEFAULT_OVERLAP), int(width * DEFAULT_OVERLAP))
    else:
        overlap = (arguments.overlap, arguments.overlap)
    return TilePlan(tile=(height, width), overlap=overlap)


def _warn_of_places(expression: str, scene: Scene, num_tiles: int) -> None:
    words = find_place_words(expression)
    if num_tiles > 1 and words:
        _warn(
            f"{', '.join(words)!r} will refer to each of {num_tiles} tiles, not to the scene; "
            "--mode whole segments the whole scene at once"
        )
    rotation = scene.placement.rotation
    if words and rotation > LARGEST_ROTATION:
        _warn(
            f"{scene.path} is turned by {rotation:.0f} degrees; {', '.join(words)!r} will refer to "
            "the file's rows and columns, not to the map"
        )


def _warn_of_pixels(scene: Scene) -> None:
    placement = scene.placement
    if placement.gcps:
        _warn(f"{scene.path} is georeferenced by {len(placement.gcps)} ground control points")
    elif placement.crs is None and scene.dataset.rpcs is not None:
        _warn(
            f"{scene.path} is georeferenced by RPCs, which need heights: polygons will be in "
            "pixels, and the mask keeps the RPCs; gdalwarp -rpc makes a georeferenced raster"
        )
    elif placement.crs is None:
        _warn(f"{scene.path} has no CRS; polygons will be in pixels, x right and y down")
    elif not placement.is_on_earth:
        _warn(f"{scene.path} has a CRS without longitudes and latitudes; areas will be missing")


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _check_output_files(arguments: argparse.Namespace) -> list[Path]:
    """Return the files to write after checking that they can be written.

    Raises:
        ValueError: none, another format, or files that must not be replaced.
        OSError: one cannot be written.
    """
    outputs = [path for path in (arguments.mask, arguments.vector) if path]
    if not outputs:
        raise ValueError("nothing to write: give --mask, --vector, or both")
    if arguments.mask and arguments.mask.suffix not in MASK_ENDINGS:
        raise ValueError(f"{arguments.mask}: masks are written as .tif")
    inputs = (arguments.scene, *weights_files(arguments.weights))
    refuse_unsafe_outputs(outputs, inputs=inputs, overwrite=arguments.overwrite)
    return outputs


def _make_segmenter(predictor: RefSegPredictor, expression: str) -> Segmenter:
    """A function from RGB pixels of tiles to the probability of the expression's target."""

    def segment(tiles: list[np.ndarray]) -> list[np.ndarray]:
        return [result.probability for result in predictor.predict_images(tiles, expression)]

    return segment


def _segment(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    arguments.weights = arguments.weights or find_ready_model()
    outputs = _check_output_files(arguments)
    scene = Scene(
        arguments.scene,
        bands=tuple(arguments.bands) if arguments.bands else None,
        percentiles=tuple(arguments.stretch) if arguments.stretch else None,
    )
    if arguments.vector:
        refuse_impossible_vector(arguments.vector, scene.placement)
    predictor = RefSegPredictor.from_checkpoint(
        arguments.weights,
        device=arguments.device,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
    )
    predictor.prepare_expression(arguments.expression)  # an empty one is refused before any work
    plan = _plan_tiles(arguments, scene, predictor.input_size)
    grid = plan.grid(scene.size)
    _warn_of_places(arguments.expression, scene, len(grid))
    _warn_of_pixels(scene)
    identity = {
        "sentence": arguments.expression,
        "checkpoint": weights_hash(arguments.weights),
    }
    store = TileStore(
        outputs[0].with_name(f"{outputs[0].name}.tiles"),
        job=describe_job(scene, plan, **identity, dtype=arguments.dtype),
        num_tiles=len(grid),
        shape=predictor.input_size,
        resume=arguments.resume,
    )
    if arguments.compile and not store.is_done.all():
        predictor.compile()
    ask = _make_segmenter(predictor, arguments.expression)
    with tqdm(total=len(grid), initial=int(store.is_done.sum()), unit="tile") as progress:
        for count in segment_tiles(scene, grid, store, ask, batch_size=arguments.batch_size):
            progress.update(count)
    mask_file = MaskFile(scene, store.folder) if arguments.mask else None
    components = assemble_components(scene, grid, store, mask_file)
    if arguments.vector:
        num_polygons = write_vector(
            components, arguments.vector, placement=scene.placement, properties=identity
        )
    else:
        num_polygons = sum(1 for _ in components)
    if mask_file is not None:
        remove_leftovers_beside(arguments.mask)
        mask_file.finish(arguments.mask)
    store.remove()
    seconds, megapixels = time.perf_counter() - start, scene.size[0] * scene.size[1] / 1e6
    print(
        f"{num_polygons} polygons; {megapixels:.1f} megapixels in {seconds:.0f} s, "
        f"{megapixels / seconds:.2f} a second; written: {', '.join(map(str, outputs))}"
    )


def main() -> None:
    arguments = _parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # _warn_of_pixels says it
    try:
        with limited_cache():
            _segment(arguments)
    except KeyboardInterrupt:
        print("finished tiles are kept; continue with --resume", file=sys.stderr)
        raise
