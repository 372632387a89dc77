"""Large images of synthrs scenes side by side, with every object known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..class_names import RRSISHR_CLASSES
from .drawing import draw_scene
from .scene import sample_scene


def draw_mosaic_strips(
    *, size: tuple[int, int], scene_size: int = 96, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw rows of scenes from the top; the scenes at the right and lower border are cropped.

    A scene depends only on the seed and its place, so a smaller mosaic is the upper left part of a
    larger one.

    Args:
        size: (height, width) of the mosaic, pixels.
        scene_size: side of a scene, pixels.

    Yields:
        RGB (height, width, 3) uint8, and (height, width) uint8 with 0 for ground and k for the
        k-th of RRSISHR_CLASSES, ``scene_size`` rows of pixels at a time, fewer at the end.

    Raises:
        ValueError: a size below 1.
    """
    if min(size) < 1 or scene_size < 1:
        raise ValueError(
            f"mosaic of {size} pixels with scenes of {scene_size} pixels; sizes must be at least 1"
        )
    for row in range(-(-size[0] // scene_size)):
        cells = [
            _draw_cell(np.random.default_rng([seed, row, column]), scene_size)
            for column in range(-(-size[1] // scene_size))
        ]
        left = size[0] - row * scene_size
        pixels, category_ids = (np.concatenate(part, axis=1) for part in zip(*cells, strict=True))
        yield pixels[:left, : size[1]], category_ids[:left, : size[1]]


def _draw_cell(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene (size, size, 3) and its category ids (size, size)."""
    scene = sample_scene(rng)
    image, masks = draw_scene(scene, size=size)
    category_ids = np.zeros((size, size), np.uint8)
    for target, mask in zip(scene.objects, masks, strict=True):
        category_ids[mask] = RRSISHR_CLASSES.index(target.category) + 1
    return image, category_ids
