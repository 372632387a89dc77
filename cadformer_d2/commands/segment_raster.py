"""Map what an expression refers to in a large georeferenced raster.

    cadformer segment-raster SCENE.tif "the storage tank" --mask mask.tif --vector tanks.geojson \
        --weights model_best.pth

The mask is a Cloud-Optimized GeoTIFF with the scene's CRS, transform and size. Polygons are GeoJSON
(longitude, latitude) or a GeoPackage in the scene's CRS. --resume continues an interrupted run,
which loses one batch of tiles at most. --overwrite replaces existing files; the other layers of a
GeoPackage stay.

A model that can say what is not there answers "the storage tank" with one object of the scene, the
likeliest, and "all storage tanks" with all of them. --targets says what is meant; of other models,
which find something in every tile, it is all.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..inference.load_predictor import load_predictor, model_files, model_hash
from ..inference.ready_model import find_ready_model

try:
    from ..inference.mask_file import MaskFile
    from ..inference.output_files import (
        MASK_ENDINGS,
        refuse_unsafe_outputs,
        remove_leftovers_beside,
    )
    from ..inference.raster import Scene, limited_cache
    from ..inference.raster_segmentation import describe_job, segment_tiles
    from ..inference.scene_doubts import doubts_of_placement, doubts_of_places
    from ..inference.scene_targets import assemble_targets, choose_targets, weigh_answer
    from ..inference.tile_store import TileStore
    from ..inference.vector import refuse_impossible_vector, write_vector
    from .raster_options import add_raster_options, add_weights_option, tile_options
except ImportError as error:
    raise SystemExit(f"error: {error}") from error


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="raster, anything GDAL reads")
    parser.add_argument("expression", help="what is looked for, a sentence")
    add_weights_option(parser)
    parser.add_argument("--mask", type=Path, help=".tif to write")
    parser.add_argument("--vector", type=Path, help=".geojson or .gpkg to write")
    add_raster_options(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace outputs of an earlier run"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    return parser.parse_args()


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
    inputs = (arguments.scene, *model_files(arguments.weights))
    refuse_unsafe_outputs(outputs, inputs=inputs, overwrite=arguments.overwrite)
    return outputs


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
    predictor = load_predictor(
        arguments.weights,
        device=arguments.device,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
    )
    predictor.prepare_expression(arguments.expression)  # an empty one is refused before any work
    plan = tile_options(arguments).plan(scene, predictor.input_size)
    grid = plan.grid(scene.size)
    for doubt in doubts_of_places(arguments.expression, scene, len(grid)):
        _warn(doubt)
    for doubt in doubts_of_placement(scene):
        _warn(doubt)
    identity = {
        "sentence": arguments.expression,
        "checkpoint": model_hash(arguments.weights),
    }
    targets = choose_targets(arguments.expression, arguments.targets, predictor)
    store = TileStore(
        outputs[0].with_name(f"{outputs[0].name}.tiles"),
        job=describe_job(scene, plan, **identity, dtype=arguments.dtype, targets=targets),
        num_tiles=len(grid),
        shape=predictor.input_size,
        resume=arguments.resume,
    )
    if arguments.compile and not store.is_done.all():
        predictor.compile()

    def segment(tiles: list[np.ndarray]) -> list[np.ndarray]:
        answers = predictor.predict_images(tiles, arguments.expression)
        return [weigh_answer(answer, targets) for answer in answers]

    with tqdm(total=len(grid), initial=int(store.is_done.sum()), unit="tile") as progress:
        for count in segment_tiles(scene, grid, store, segment, batch_size=arguments.batch_size):
            progress.update(count)
    mask_file = MaskFile(scene, store.folder) if arguments.mask else None
    components = assemble_targets(scene, grid, store, targets, mask_file)
    if arguments.vector:
        num_polygons = write_vector(
            components,
            arguments.vector,
            placement=scene.placement,
            properties=identity | {"targets": targets},
        )
    else:
        num_polygons = sum(1 for _ in components)
    if mask_file is not None:
        remove_leftovers_beside(arguments.mask)
        mask_file.finish(arguments.mask)
    num_blank = int(store.is_blank.sum())
    store.remove()
    seconds, megapixels = time.perf_counter() - start, scene.size[0] * scene.size[1] / 1e6
    print(
        f"{num_polygons} polygons; {megapixels:.1f} megapixels in {seconds:.0f} s, "
        f"{megapixels / seconds:.2f} a second; {num_blank} of {len(grid)} tiles have no target; "
        f"written: {', '.join(map(str, outputs))}"
    )


def main() -> None:
    arguments = _parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # doubts_of_placement says it
    try:
        with limited_cache():
            _segment(arguments)
    except KeyboardInterrupt:
        print("finished tiles are kept; continue with --resume", file=sys.stderr)
        raise
