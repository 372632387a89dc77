"""Large images of synthrs scenes side by side, with every object known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..class_names import RRSISHR_CLASSES
from .drawing import draw_scene
from .scene import sample_scene


def draw_mosaic_strips(
    *, size: tuple[int, int], scene_size: int = 96, seed: int = 0, without: str = ""
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw rows of scenes from the top; the scenes at the right and lower border are cropped.

    A scene depends only on the seed and its place, so a smaller mosaic is the upper left part of a
    larger one.

    Args:
        size: (height, width) of the mosaic, pixels.
        scene_size: side of a scene, pixels.
        without: a category whose objects are left out; "": none.

    Yields:
        RGB (height, width, 3) uint8, and (height, width) uint8 with 0 for ground and k for the
        k-th of RRSISHR_CLASSES, ``scene_size`` rows of pixels at a time, fewer at the end.

    Raises:
        ValueError: a size below 1, or another category than the scenes have.
    """
    if min(size) < 1 or scene_size < 1:
        raise ValueError(
            f"mosaic of {size} pixels with scenes of {scene_size} pixels; sizes must be at least 1"
        )
    if without and without not in RRSISHR_CLASSES:
        raise ValueError(f"no scene has a {without!r}; known: {', '.join(RRSISHR_CLASSES)}")
    for row in range(-(-size[0] // scene_size)):
        cells = [
            _draw_cell(np.random.default_rng([seed, row, column]), scene_size, without)
            for column in range(-(-size[1] // scene_size))
        ]
        left = size[0] - row * scene_size
        pixels, category_ids = (np.concatenate(part, axis=1) for part in zip(*cells, strict=True))
        yield pixels[:left, : size[1]], category_ids[:left, : size[1]]


def _draw_cell(rng: np.random.Generator, size: int, without: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene (size, size, 3) and its category ids (size, size)."""
    scene = sample_scene(rng)
    kept = tuple(target for target in scene.objects if target.category != without)
    scene = replace(scene, objects=kept)
    image, masks = draw_scene(scene, size=size)
    category_ids = np.zeros((size, size), np.uint8)
    for target, mask in zip(scene.objects, masks, strict=True):
        category_ids[mask] = RRSISHR_CLASSES.index(target.category) + 1
    return image, category_ids
