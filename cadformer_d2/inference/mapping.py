"""From a scene of any size and a sentence to a map: tile by tile, then block by block.

Memory does not grow with the scene: what the network says of a tile waits on disk, the map is put
together block by block, and a polygon is handed on as soon as it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from ..data.expression_roles import PLACES
from .mask_file import MaskFile
from .pieces import Piece, block_pieces, whole_pieces
from .raster import BLOCK_SIDE, Scene
from .tile_store import TileStore
from .tiling import TileGrid, Window, blend, block_windows

MODES = ("tiles", "whole")

# From pixels (height, width, 3) uint8 RGB of several tiles to probabilities (height, width) in
# [0, 1] of each.
Segmenter = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class TilePlan:
    """How a scene is cut.

    Raises:
        ValueError: an unknown mode, or sizes that cannot be.
    """

    mode: str = "tiles"  # each tile is asked, or the whole scene, shrunk to the network's input
    tile: tuple[int, int] = (480, 480)  # (height, width) in pixels of the scene
    overlap: tuple[int, int] = (120, 120)  # of neighbouring tiles along the two axes, pixels

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; known: {', '.join(MODES)}")
        if min(self.tile) < 1:
            raise ValueError(f"a tile of {self.tile[0]} x {self.tile[1]} pixels is none")
        for tile, overlap in zip(self.tile, self.overlap, strict=True):
            if not 0 <= overlap < tile:
                raise ValueError(
                    f"an overlap of {overlap} pixels does not fit tiles of {tile}: 0 or more and "
                    "less than a tile is needed"
                )

    def grid(self, size: tuple[int, int]) -> TileGrid:
        """Tiles of a scene of (height, width) pixels."""
        if self.mode == "whole":
            return TileGrid.covering(size, size, (0, 0))
        return TileGrid.covering(size, self.tile, self.overlap)


def segment_tiles(
    scene: Scene, grid: TileGrid, store: TileStore, segment: Segmenter, *, batch_size: int = 1
) -> Iterator[int]:
    """Ask every tile that is not in the store; yields how many have come in, time and again.

    Tiles without a valid pixel are not asked; they hold nothing.

    Args:
        segment: from RGB pixels of tiles, resampled to the store's shape, to their probabilities.
        batch_size: tiles asked at once, and the most that an interruption loses.
    """
    missing = store.missing()
    while batch := list(islice(missing, batch_size)):
        tiles = [scene.read(grid[index], store.shape) for index in batch]
        asked = [scene.upright(pixels) for pixels, is_valid in tiles if is_valid.any()]
        answers = iter(segment(asked) if asked else [])
        for index, (_, is_valid) in zip(batch, tiles, strict=True):
            nothing = np.zeros(store.shape, np.float32)
            store.put(index, scene.upright(next(answers)) if is_valid.any() else nothing)
        yield len(batch)


def mapped_pieces(
    scene: Scene, grid: TileGrid, store: TileStore, mask_file: MaskFile | None = None
) -> Iterator[Piece]:
    """Put the tiles together: the pieces of the mask, which is written to its file on the way.

    Raises:
        OSError: the mask could not be written.
    """
    return whole_pieces(
        (block, block_pieces(block, mask, probability))
        for block, mask, probability in mapped_blocks(scene, grid, store, mask_file)
    )


def mapped_blocks(
    scene: Scene, grid: TileGrid, store: TileStore, mask_file: MaskFile | None
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Blocks of the scene with their mask and probability."""
    for block in block_windows(scene.size, BLOCK_SIDE):
        tiles = ((grid[index], store.get(index)) for index in grid.touching(block))
        probability = blend(block, tiles)
        is_valid = scene.is_valid(block)
        mask = (probability > 0.5) & is_valid
        if mask_file is not None:
            mask_file.write(block, mask, is_valid)
        yield block, mask, probability


def tile_job(scene: Scene, plan: TilePlan, **identity: str) -> dict[str, Any]:
    """What the tiles of a run depend on, as JSON can hold it."""
    # Of a VRT or a raster inside a container, the files that hold the pixels too.
    files = [file.stat() for file in scene.source.files if file.exists()]
    plan_fields = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(plan).items()}
    return {
        "scene": str(scene.path.resolve()),
        "changed": max((file.st_mtime_ns for file in files), default=0),
        "bytes": sum(file.st_size for file in files),
        "bands": list(scene.bands),
        "has_palette": scene.palette is not None,
        "limits": None if scene.limits is None else scene.limits.tolist(),
        "plan": plan_fields,
        **identity,
    }


def place_words(expression: str) -> list[str]:
    """Words of a sentence for a place in the picture, such as "upper left" or "leftmost"."""
    return re.findall(rf"\b(?:{PLACES})(?:most)?\b", expression, re.IGNORECASE)
