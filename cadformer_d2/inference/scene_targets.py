"""All objects of a scene that an expression fits, or one: which is meant, and its map."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..data.expression_roles import PREPOSITIONS, find_object_spans
from .connected_components import ConnectedComponent, paint_component
from .mask_file import MaskFile
from .mask_predictor import MaskPredictor, ReferredMask
from .raster import BLOCK_SIDE, Scene
from .raster_segmentation import assemble_components
from .tile_store import TileStore
from .tiling import TileGrid, block_windows

# What an expression may mean in a scene of many tiles: "all" that fit, or "one" object.
TARGETS = ("all", "one")
SEVERAL_WORDS = "all|every|each|any|both|several|many|two|three|four|five|six|seven|eight|nine|ten"


def choose_targets(expression: str, wish: str | None, predictor: MaskPredictor) -> str:
    """Whether all objects that fit are meant, or one.

    A model that finds something in every tile was asked for all of it by "the storage tank" as
    well, and still is.

    Args:
        wish: what the user says, one of TARGETS; None: what the expression says.

    Returns:
        one of TARGETS.
    """
    if wish:
        return wish
    return read_targets(expression, predictor.object_names) if predictor.says_presence else "all"


def read_targets(expression: str, names: Iterable[str]) -> str:
    """What an expression means by its words: "one" after "the", but for a plural or a number.

    Args:
        names: of categories, to tell "the storage tanks" from "the bus".

    Returns:
        one of TARGETS.
    """
    if re.match(rf"\s*the\s+(?!(?:{SEVERAL_WORDS}|\d+)\b)", expression, re.IGNORECASE) is None:
        return "all"
    known = {name.casefold() for name in names}
    # What it stands beside may be several.
    head = re.split(rf"\b(?:{PREPOSITIONS}|of|with|that|which)\b|,", expression.casefold())[0]
    spans = find_object_spans(head, known)
    return "one" if all(head[first:last] in known for first, last in spans) else "all"


def weigh_answer(answer: ReferredMask, targets: str) -> np.ndarray:
    """The probability (height, width) that a tile adds to the map of the scene.

    Where one object is meant, answers compete, and a pixel's probability is that of being the
    target's times that of a target in the tile.
    """
    if targets == "all" or answer.presence is None:
        return answer.probability
    return answer.probability * answer.presence


def assemble_targets(
    scene: Scene, grid: TileGrid, store: TileStore, targets: str, mask_file: MaskFile | None = None
) -> Iterable[ConnectedComponent]:
    """As ``assemble_components``, of all that was found or of the one that is likeliest."""
    if targets == "all":
        return assemble_components(scene, grid, store, mask_file)
    best = find_best_component(assemble_components(scene, grid, store))
    if mask_file is not None:
        write_component_mask(scene, best, mask_file)
    return [] if best is None else [best]


def find_best_component(components: Iterable[ConnectedComponent]) -> ConnectedComponent | None:
    """The component of the highest mean probability, of equal ones the largest; None of none."""
    return max(
        components,
        key=lambda found: (found.probability_sum / found.num_pixels, found.num_pixels),
        default=None,
    )


def write_component_mask(
    scene: Scene, component: ConnectedComponent | None, mask_file: MaskFile
) -> None:
    """Write a mask of one component, or of none.

    Raises:
        OSError: the mask could not be written.
    """
    for block in block_windows(scene.size, BLOCK_SIDE):
        is_valid = scene.is_valid(block)
        mask = np.zeros_like(is_valid)
        if component is not None:
            mask = paint_component(component, block)
        mask_file.write(block, mask & is_valid, is_valid)
