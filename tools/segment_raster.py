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
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cadformer_d2.inference.predictor import RefSegPredictor
from cadformer_d2.inference.raster import (
    MODES,
    Scene,
    Segmenter,
    TilePlan,
    TileStore,
    place_words,
    segment_tiles,
    tile_job,
    write_maps,
)
from cadformer_d2.inference.vector import refuse_other_format, write_vector


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path, help="raster, anything GDAL reads")
    parser.add_argument("expression", help="what is looked for, a sentence")
    parser.add_argument("--weights", required=True, type=Path, help="checkpoint of this project")
    parser.add_argument("--mask", type=Path, help="GeoTIFF to write")
    parser.add_argument("--vector", type=Path, help=".geojson or .gpkg to write")
    parser.add_argument("--mode", default="tiles", choices=MODES)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tile", type=int, help="side of a tile, pixels; default: network's input")
    size.add_argument("--gsd", type=float, help="metres a pixel at which the network looks")
    parser.add_argument("--overlap", type=float, default=0.25, help="of tiles, as a share of one")
    parser.add_argument("--bands", nargs=3, type=int, help="numbers of red, green, blue, from 1")
    parser.add_argument(
        "--stretch", nargs=2, type=float, metavar=("LOW", "HIGH"), help="percentiles to stretch"
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=int, default=1, help="tiles asked at once")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    return parser.parse_args()


def plan_for(
    arguments: argparse.Namespace, scene: Scene, network_size: tuple[int, int]
) -> TilePlan:
    """How the scene is cut.

    Raises:
        ValueError: --gsd is asked for and the scene does not say its own.
    """
    height, width = network_size
    if arguments.tile:
        height, width = arguments.tile, arguments.tile
    if arguments.gsd:
        if scene.gsd is None:
            raise ValueError(f"{scene.path} has no projected CRS, so --gsd cannot be used")
        factor = arguments.gsd / scene.gsd
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    return TilePlan(mode=arguments.mode, tile=(height, width), overlap=arguments.overlap)


def warn_of_places(expression: str, num_tiles: int) -> None:
    words = place_words(expression)
    if num_tiles > 1 and words:
        print(
            f"warning: {', '.join(words)!r} will be understood within each of {num_tiles} tiles, "
            "not within the scene; --mode whole asks the scene at once",
            file=sys.stderr,
        )


def segmenter(predictor: RefSegPredictor, expression: str) -> Segmenter:
    """From RGB pixels of tiles to the probability of what the sentence points at."""

    def ask(tiles: list[np.ndarray]) -> list[np.ndarray]:
        answers = predictor.predict_pairs([(pixels, expression) for pixels in tiles])
        return [answer.probability for answer in answers]

    return ask


def segment(arguments: argparse.Namespace) -> None:
    outputs = [path for path in (arguments.mask, arguments.vector) if path]
    if not outputs:
        raise ValueError("nothing to write: give --mask, --vector, or both")
    if arguments.vector:
        refuse_other_format(arguments.vector)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    scene = Scene(
        arguments.scene,
        bands=tuple(arguments.bands) if arguments.bands else None,
        percentiles=tuple(arguments.stretch) if arguments.stretch else None,
    )
    predictor = RefSegPredictor.from_checkpoint(
        arguments.weights, device=arguments.device, batch_size=arguments.batch_size
    )
    plan = plan_for(arguments, scene, predictor.input_size)
    windows = plan.windows(scene.size)
    warn_of_places(arguments.expression, len(windows))
    checkpoint = hashlib.sha256(arguments.weights.read_bytes()).hexdigest()[:16]
    identity = {"sentence": arguments.expression, "checkpoint": checkpoint}
    store = TileStore(
        outputs[0].with_name(f"{outputs[0].name}.tiles"),
        job=tile_job(scene, plan, **identity),
        resume=arguments.resume,
    )
    done = segment_tiles(
        scene,
        windows,
        store,
        segmenter(predictor, arguments.expression),
        network_size=predictor.input_size,
        batch_size=arguments.batch_size,
    )
    for _ in tqdm(done, total=len(windows), unit="tile"):
        pass
    pieces = write_maps(scene, windows, store, arguments.mask)
    if arguments.vector:
        write_vector(
            pieces,
            arguments.vector,
            transform=scene.dataset.transform,
            crs=scene.dataset.crs,
            properties=identity,
        )
    store.remove()
    print(f"{len(pieces)} polygons; written: {', '.join(map(str, outputs))}")


def main() -> None:
    arguments = parse_arguments()
    try:
        segment(arguments)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"segment_raster: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("segment_raster: interrupted; go on with --resume") from None


if __name__ == "__main__":
    main()
