"""Large pictures whose every object is known: synthrs scenes side by side."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..class_names import RRSISHR_CLASSES
from .drawing import draw_scene
from .scene import sample_scene


def mosaic_strips(
    *, size: tuple[int, int], scene_size: int = 96, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of scenes from the top, the last scenes of rows and columns cut off where they end.

    A scene depends on the seed and its place alone, so a smaller mosaic is the upper left part of a
    larger one.

    Args:
        size: (height, width) of the mosaic, pixels.
        scene_size: side of a scene, pixels.

    Yields:
        RGB (height, width, 3) uint8, and (height, width) uint8 with 0 for ground and k for the
        k-th of RRSISHR_CLASSES, of ``scene_size`` rows of pixels or of those that are left.

    Raises:
        ValueError: nothing to draw.
    """
    if min(size) < 1 or scene_size < 1:
        raise ValueError(f"a mosaic of {size} pixels of scenes of {scene_size} is none")
    for row in range(-(-size[0] // scene_size)):
        cells = [
            draw_cell(np.random.default_rng([seed, row, column]), scene_size)
            for column in range(-(-size[1] // scene_size))
        ]
        left = size[0] - row * scene_size
        pixels, category_ids = (np.concatenate(part, axis=1) for part in zip(*cells, strict=True))
        yield pixels[:left, : size[1]], category_ids[:left, : size[1]]


def draw_cell(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One scene (size, size, 3) and its category ids (size, size)."""
    scene = sample_scene(rng)
    picture, masks = draw_scene(scene, size=size)
    category_ids = np.zeros((size, size), np.uint8)
    for target, mask in zip(scene.objects, masks, strict=True):
        category_ids[mask] = RRSISHR_CLASSES.index(target.category) + 1
    return picture, category_ids
