"""Segmentation of a raster of any size: tile by tile, then block by block.

Memory does not grow with the scene: the network's tiles are kept on disk, the map is assembled
block by block, and a polygon is passed on as soon as it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ..data.expression_roles import PLACES
from .connected_components import ConnectedComponent, find_components, merge_components
from .mask_file import MaskFile
from .raster import BLOCK_SIDE, Scene
from .tile_store import TileStore
from .tiling import TileGrid, Window, blend, block_windows

MODES = ("tiles", "whole")

# From pixels (height, width, 3) uint8 RGB of several tiles to probabilities (height, width) in
# [0, 1] of each.
Segmenter = Callable[[list[np.ndarray]], list[np.ndarray]]
# The same for several sentences: a list for each of them.
SegmenterOfSentences = Callable[[list[np.ndarray]], list[list[np.ndarray]]]
Tile = tuple[np.ndarray, np.ndarray]  # pixels and validity, as Scene.read returns them
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TilePlan:
    """How a scene is divided into tiles.

    Raises:
        ValueError: an unknown mode, an empty tile, or an overlap that does not fit the tile.
    """

    mode: str = "tiles"  # segment "tiles", or the "whole" scene at the network's input size
    tile: tuple[int, int] = (480, 480)  # (height, width) in pixels of the scene
    overlap: tuple[int, int] = (120, 120)  # of neighbouring tiles along the two axes, pixels

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; known: {', '.join(MODES)}")
        if min(self.tile) < 1:
            raise ValueError(f"the tile is {self.tile[0]} x {self.tile[1]} pixels; it is empty")
        for tile, overlap in zip(self.tile, self.overlap, strict=True):
            if not 0 <= overlap < tile:
                raise ValueError(
                    f"an overlap of {overlap} pixels does not fit tiles of {tile} pixels; it must "
                    "be at least 0 and less than a tile"
                )

    def grid(self, size: tuple[int, int]) -> TileGrid:
        """The tiles of a scene of (height, width) pixels."""
        if self.mode == "whole":
            return TileGrid.covering(size, size, (0, 0))
        return TileGrid.covering(size, self.tile, self.overlap)


def segment_tiles(
    scene: Scene, grid: TileGrid, store: TileStore, segment: Segmenter, *, batch_size: int = 1
) -> Iterator[int]:
    """Segment every tile that is not in the store yet; yields the number of tiles of each batch.

    Tiles without a valid pixel are stored as empty without running the network.

    Args:
        segment: from RGB pixels of tiles, resampled to the store's shape, to their probabilities.
        batch_size: tiles segmented at once, and the most that an interruption loses.
    """
    missing = store.missing()
    while batch := list(islice(missing, batch_size)):
        tiles = [scene.read(grid[index], store.shape) for index in batch]
        _put_answers(scene, batch, tiles, [store], lambda images: [segment(images)])
        yield len(batch)


def segment_tiles_of_sentences(
    scene: Scene,
    grid: TileGrid,
    stores: Sequence[TileStore],
    segment: SegmenterOfSentences,
    *,
    batch_size: int = 1,
) -> Iterator[int]:
    """Segment for several sentences; yields the number of tiles of each batch.

    A tile is read once for all of them, the next batch while the network computes. Batches begin
    at fixed tiles, whatever is in the stores already: a resumed run computes what an uninterrupted
    one does, to the bit.

    Args:
        stores: of the sentences, of one shape.
        segment: from RGB pixels of tiles to the probabilities of each sentence.
        batch_size: tiles segmented at once, and the most that an interruption loses.
    """
    batches = [
        range(len(grid))[first : first + batch_size] for first in range(0, len(grid), batch_size)
    ]
    missing = [b for b in batches if not all(store.is_done[b].all() for store in stores)]

    def read(batch: Sequence[int]) -> list[Tile]:
        return [scene.read(grid[index], stores[0].shape) for index in batch]

    for batch, tiles in zip(missing, read_ahead(read, missing), strict=True):
        _put_answers(scene, batch, tiles, stores, segment)
        yield len(batch)


def read_ahead(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``read`` of each item; a thread reads the next one meanwhile, and no further."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read, items[0]) if items else None
        for following in [*items[1:], None]:
            if coming is None:
                return
            result = coming.result()
            coming = None if following is None else reader.submit(read, following)
            yield result


def _put_answers(
    scene: Scene,
    batch: Sequence[int],
    tiles: Sequence[Tile],
    stores: Sequence[TileStore],
    segment: SegmenterOfSentences,
) -> None:
    """Segment a batch of tiles that were read, and store the answers to each sentence."""
    images = [scene.turn_upright(pixels) for pixels, is_valid in tiles if is_valid.any()]
    answers = segment(images) if images else [[] for _ in stores]
    for store, probabilities in zip(stores, answers, strict=True):
        rest = iter(probabilities)
        for index, (_, is_valid) in zip(batch, tiles, strict=True):
            empty = np.zeros(store.shape, np.float32)
            store.put(index, scene.turn_upright(next(rest)) if is_valid.any() else empty)


def assemble_components(
    scene: Scene, grid: TileGrid, store: TileStore, mask_file: MaskFile | None = None
) -> Iterator[ConnectedComponent]:
    """Assemble the tiles, write the mask to its file, and yield its connected components.

    Raises:
        OSError: the mask could not be written.
    """
    return merge_components(
        (block, find_components(block, mask, probability))
        for block, mask, probability in _assemble_blocks(scene, grid, store, mask_file)
    )


def _assemble_blocks(
    scene: Scene, grid: TileGrid, store: TileStore, mask_file: MaskFile | None
) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
    """Assemble blocks of the scene, each with its mask and probability; write the mask."""
    for block in block_windows(scene.size, BLOCK_SIDE):
        tiles = ((grid[index], store.get(index)) for index in grid.touching(block))
        probability = blend(block, tiles)
        is_valid = scene.is_valid(block)
        mask = (probability > 0.5) & is_valid
        if mask_file is not None:
            mask_file.write(block, mask, is_valid)
        yield block, mask, probability


def describe_job(scene: Scene, plan: TilePlan, **identity: str) -> dict[str, Any]:
    """Describe everything that the tiles of a run depend on, for JSON."""
    plan_fields = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(plan).items()}
    return {
        **scene.source.identity,
        "bands": list(scene.bands),
        "has_palette": scene.palette is not None,
        "limits": None if scene.limits is None else scene.limits.tolist(),
        "plan": plan_fields,
        **identity,
    }


def find_place_words(expression: str) -> list[str]:
    """Find words for a place in the image, such as "upper left" or "leftmost"."""
    return re.findall(rf"\b(?:{PLACES})(?:most)?\b", expression, re.IGNORECASE)
