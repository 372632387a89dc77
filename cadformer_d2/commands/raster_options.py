"""Options that the commands about rasters share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from ..inference.load_predictor import DTYPE_NAMES
from ..inference.raster_segmentation import MODES
from ..inference.scene_targets import TARGETS
from ..inference.tile_options import TileOptions


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argument type for numbers above 0."""

    def parse(text: str) -> float:
        if not 0 < (number := kind(text)) < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
        return number

    return parse


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        help="checkpoint, exported .onnx, folder or Hugging Face name; default: the ready model",
    )


def add_raster_options(parser: argparse.ArgumentParser) -> None:
    """Add how a scene is cut and seen, what is meant in it, and how the network computes."""
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
    parser.add_argument(
        "--targets",
        choices=TARGETS,
        help="what is meant in the scene; default: what an expression says, of a model that can "
        "say what is not there, else all",
    )
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=positive(int), default=1, help="tiles asked at once")
    parser.add_argument("--dtype", default="float32", choices=DTYPE_NAMES, help="of products")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network first, which takes minutes",
    )


def tile_options(arguments: argparse.Namespace) -> TileOptions:
    """
    Raises:
        ValueError: options have no effect.
    """
    return TileOptions(
        mode=arguments.mode, tile=arguments.tile, gsd=arguments.gsd, overlap=arguments.overlap
    )
