#!/usr/bin/env python3
"""Point at a thing in a large georeferenced raster with a sentence; get a map of it.

    python tools/segment_raster.py SCENE.tif "the storage tank" --weights model_best.pth \
        --mask mask.tif --vector tanks.geojson

The mask is a Cloud-Optimized GeoTIFF with the scene's CRS, transform and size. Polygons are GeoJSON
(longitude, latitude) or a GeoPackage in the scene's CRS. An interrupted run goes on with --resume
and loses one batch of tiles at most.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cadformer_d2.inference import RefSegPredictor
from cadformer_d2.precision import DTYPES

try:
    from cadformer_d2.inference.mapping import (
        MODES,
        Segmenter,
        TilePlan,
        mapped_pieces,
        place_words,
        segment_tiles,
        tile_job,
    )
    from cadformer_d2.inference.raster import MaskFile, Scene, limited_cache
    from cadformer_d2.inference.tile_store import TileStore
    from cadformer_d2.inference.vector import refuse_other_format, write_vector
except ImportError as error:
    raise SystemExit(f"segment_raster: {error}") from error

DEFAULT_OVERLAP = 0.25  # of a tile


def positive(kind: type) -> type:
    """An argument's type that admits numbers above 0 only."""

    def parse(text: str) -> float:
        if not (number := kind(text)) > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="raster, anything GDAL reads")
    parser.add_argument("expression", help="what is looked for, a sentence")
    parser.add_argument("--weights", required=True, type=Path, help="checkpoint of this project")
    parser.add_argument("--mask", type=Path, help=".tif to write")
    parser.add_argument("--vector", type=Path, help=".geojson or .gpkg to write")
    parser.add_argument("--mode", default="tiles", choices=MODES)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--tile", type=positive(int), help="side in pixels of the scene; default: network's input"
    )
    size.add_argument(
        "--gsd", type=positive(float), help="metres on the ground a pixel that the network sees"
    )
    parser.add_argument(
        "--overlap", type=int, help="of tiles, pixels of the scene; default: a quarter of a tile"
    )
    parser.add_argument("--bands", nargs=3, type=int, help="numbers of red, green, blue, from 1")
    parser.add_argument(
        "--stretch", nargs=2, type=float, metavar=("LOW", "HIGH"), help="percentiles to stretch"
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=positive(int), default=1, help="tiles asked at once")
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES), help="of products")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network first, which takes minutes",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    return parser.parse_args()


def plan_for(
    arguments: argparse.Namespace, scene: Scene, network_size: tuple[int, int]
) -> TilePlan:
    """How the scene is cut.

    Raises:
        ValueError: options that cannot take effect, or do not fit each other.
    """
    if arguments.mode == "whole":
        if arguments.tile or arguments.gsd or arguments.overlap is not None:
            raise ValueError("--mode whole has no tiles: --tile, --gsd and --overlap do not apply")
        return TilePlan(mode="whole")
    height, width = network_size
    if arguments.tile:
        height, width = arguments.tile, arguments.tile
    if arguments.gsd:
        if scene.pixel_metres is None:
            raise ValueError(f"{scene.path} has no CRS, so --gsd cannot be used; --tile can")
        height, width = (
            max(1, round(length * arguments.gsd / metres))
            for length, metres in zip(network_size, scene.pixel_metres, strict=True)
        )
    if arguments.overlap is None:
        overlap = (int(height * DEFAULT_OVERLAP), int(width * DEFAULT_OVERLAP))
    else:
        overlap = (arguments.overlap, arguments.overlap)
    return TilePlan(tile=(height, width), overlap=overlap)


def warn_of_places(expression: str, num_tiles: int) -> None:
    words = place_words(expression)
    if num_tiles > 1 and words:
        print(
            f"warning: {', '.join(words)!r} will be understood within each of {num_tiles} tiles, "
            "not within the scene; --mode whole asks the scene at once",
            file=sys.stderr,
        )


def warn_of_pixels(scene: Scene) -> None:
    if scene.dataset.crs is None:
        print(
            f"warning: {scene.path} has no CRS; polygons will be in pixels, x right and y down",
            file=sys.stderr,
        )


def output_files(arguments: argparse.Namespace) -> list[Path]:
    """Files to write, which can be written.

    Raises:
        ValueError: none, another format, or the scene itself.
        OSError: one cannot be written.
    """
    outputs = [path for path in (arguments.mask, arguments.vector) if path]
    if not outputs:
        raise ValueError("nothing to write: give --mask, --vector, or both")
    if arguments.mask and arguments.mask.suffix not in (".tif", ".tiff"):
        raise ValueError(f"{arguments.mask}: masks are written as .tif")
    if arguments.vector:
        refuse_other_format(arguments.vector)
    for path in outputs:
        if path.resolve() == arguments.scene.resolve():
            raise ValueError(f"{path} is the scene itself; it would be overwritten")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file in it")
        # Now, not after hours of work.
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".unfinished-{path.name}")
        probe.touch()
        probe.unlink()
    return outputs


def segmenter(predictor: RefSegPredictor, expression: str) -> Segmenter:
    """From RGB pixels of tiles to the probability of what the sentence points at."""

    def ask(tiles: list[np.ndarray]) -> list[np.ndarray]:
        return [answer.probability for answer in predictor.predict_images(tiles, expression)]

    return ask


def segment(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    outputs = output_files(arguments)
    scene = Scene(
        arguments.scene,
        bands=tuple(arguments.bands) if arguments.bands else None,
        percentiles=tuple(arguments.stretch) if arguments.stretch else None,
    )
    predictor = RefSegPredictor.from_checkpoint(
        arguments.weights,
        device=arguments.device,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
    )
    predictor.sentence(arguments.expression)  # an empty one is refused before any work
    plan = plan_for(arguments, scene, predictor.input_size)
    grid = plan.grid(scene.size)
    warn_of_places(arguments.expression, len(grid))
    warn_of_pixels(scene)
    checkpoint = hashlib.sha256(arguments.weights.read_bytes()).hexdigest()[:16]
    identity = {"sentence": arguments.expression, "checkpoint": checkpoint}
    store = TileStore(
        outputs[0].with_name(f"{outputs[0].name}.tiles"),
        job=tile_job(scene, plan, **identity, dtype=arguments.dtype),
        num_tiles=len(grid),
        shape=predictor.input_size,
        resume=arguments.resume,
    )
    if arguments.compile and not store.is_done.all():
        predictor.compile()
    ask = segmenter(predictor, arguments.expression)
    with tqdm(total=len(grid), initial=int(store.is_done.sum()), unit="tile") as progress:
        for count in segment_tiles(scene, grid, store, ask, batch_size=arguments.batch_size):
            progress.update(count)
    mask_file = MaskFile(scene, store.folder) if arguments.mask else None
    pieces = mapped_pieces(scene, grid, store, mask_file)
    if arguments.vector:
        num_polygons = write_vector(
            pieces,
            arguments.vector,
            transform=scene.dataset.transform,
            crs=scene.dataset.crs,
            properties=identity,
        )
    else:
        num_polygons = sum(1 for _ in pieces)
    if mask_file is not None:
        mask_file.finish(arguments.mask)
    store.remove()
    seconds, megapixels = time.perf_counter() - start, scene.size[0] * scene.size[1] / 1e6
    print(
        f"{num_polygons} polygons; {megapixels:.1f} megapixels in {seconds:.0f} s, "
        f"{megapixels / seconds:.2f} a second; written: {', '.join(map(str, outputs))}"
    )


def main() -> None:
    arguments = parse_arguments()
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # warn_of_pixels says it
    try:
        with limited_cache():
            segment(arguments)
    except (ValueError, OSError) as error:
        raise SystemExit(f"segment_raster: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("segment_raster: interrupted; go on with --resume") from None


if __name__ == "__main__":
    main()
