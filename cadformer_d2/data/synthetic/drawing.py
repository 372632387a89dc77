"""From a scene to an aerial image and its masks."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import Canvas, ellipse, rectangle, rotate
from .objects import DRAW, SHADOW, footprint, vary
from .scene import DrawnScene, SceneObject

GROUNDS = ((118, 132, 88), (152, 140, 108), (168, 164, 154), (100, 120, 84), (176, 160, 124))
SUPERSAMPLING = 3
# Height of a storage tank's shadow, and of trees', in image widths.
TANK_SHADOW, TREE_SHADOW = 0.022, 0.008


def draw_scene(scene: DrawnScene, *, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw a scene.

    Args:
        size: side of the image in pixels.

    Returns:
        the RGB image (size, size, 3) uint8, and one mask (size, size) bool per object.
    """
    rng = np.random.default_rng(scene.ground_style)
    canvas = Canvas(size=size * SUPERSAMPLING)
    sun = rng.uniform(0, 2 * np.pi)
    shadow = np.array([np.cos(sun), np.sin(sun)])
    _draw_ground(canvas, rng)
    _draw_roads(canvas, rng)
    _draw_houses(canvas, scene, shadow, rng)
    _draw_trees(canvas, scene, shadow, rng)
    for target in scene.objects:
        if target.category == "storage tank":
            canvas.fill_polygon(footprint(target) + TANK_SHADOW * shadow, SHADOW)
        DRAW[target.category](canvas, target, np.random.default_rng(target.style))
    image = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA)
    return _add_sensor_noise(image, rng), [
        _rasterize_footprint(target, size) for target in scene.objects
    ]


def _rasterize_footprint(target: SceneObject, size: int) -> np.ndarray:
    """Rasterize the object's mask (size, size) bool: pixels at least half covered."""
    canvas = Canvas(size=size * SUPERSAMPLING)
    canvas.fill_polygon(footprint(target), (255, 255, 255))
    covered = cv2.resize(canvas.pixels[..., 0], (size, size), interpolation=cv2.INTER_AREA)
    return covered >= 128


def _draw_ground(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a ground colour with patches of fields and texture at several scales."""
    base = vary(GROUNDS[rng.integers(len(GROUNDS))], rng)
    canvas.pixels[:] = np.clip(base, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(1, 5)):
        corner, extent = rng.uniform(-0.2, 1, 2), rng.uniform(0.2, 0.7, 2)
        patch = rotate(rectangle(*(extent / 2)), rng.uniform(0, np.pi)) + corner + extent / 2
        canvas.fill_polygon(patch, vary(GROUNDS[rng.integers(len(GROUNDS))], rng))
    if rng.random() < 0.25:
        _draw_water(canvas, rng)
    texture = np.zeros((canvas.size, canvas.size), np.float32)
    for cells, strength in ((5, 9.0), (16, 6.0), (60, 5.0)):
        noise = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        texture += cv2.resize(noise, (canvas.size, canvas.size), interpolation=cv2.INTER_LINEAR)
    textured = canvas.pixels.astype(np.float32) + texture[..., None]
    canvas.pixels[:] = np.clip(textured, 0, 255).astype(np.uint8)


def _draw_water(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a dark lake at the border or a river, in colours unlike the pools' cyan."""
    colour = vary((52, 78, 88), rng, 8)
    if rng.random() < 0.5:
        waves = 1 + 0.2 * rng.normal(0, 1, (48, 1))
        lake = ellipse(0.3, 0.22) * cv2.GaussianBlur(waves, (1, 9), 3)
        canvas.fill_polygon(lake + rng.choice([0.05, 0.95], 2), colour)
    else:
        canvas.draw_line(
            _sample_crossing_line(rng, bend=0.15), colour, rng.uniform(0.05, 0.1), closed=False
        )


def _draw_roads(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw up to two roads across the image, with a pale centre line."""
    asphalt = vary((128, 126, 124), rng)
    for _ in range(rng.integers(0, 3)):
        line, width = _sample_crossing_line(rng, bend=0.05), rng.uniform(0.03, 0.055)
        canvas.draw_line(line, vary((176, 172, 160), rng), width * 1.35, closed=False)
        canvas.draw_line(line, asphalt, width, closed=False)
        for start in range(0, len(line) - 1, 2):
            canvas.draw_line(line[start : start + 2], (214, 210, 196), 0.004, closed=False)


def _sample_crossing_line(rng: np.random.Generator, *, bend: float) -> np.ndarray:
    """Sample a gently bent line (24, 2) from one border to the opposite one."""
    along = np.linspace(-0.1, 1.1, 24)
    start, stop = rng.uniform(0, 1, 2)
    across = start + (stop - start) * along + bend * np.sin(np.pi * along * rng.uniform(1, 2))
    line = np.stack([along, across], axis=1)
    return line if rng.random() < 0.5 else line[:, ::-1]


def _draw_houses(
    canvas: Canvas, scene: DrawnScene, shadow: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw roofs with a ridge and a shadow, clear of the objects."""
    for _ in range(rng.integers(0, 9)):
        centre, size = rng.uniform(0.03, 0.97, 2), rng.uniform(0.018, 0.045, 2)
        if not _is_clear(scene, centre, 0.06):
            continue
        angle, roof = rng.uniform(0, np.pi), vary((152, 118, 104), rng, 24)
        outline = rotate(rectangle(*size), angle) + centre
        canvas.fill_polygon(outline + 0.014 * shadow, SHADOW)
        canvas.fill_polygon(outline, roof)
        half = rotate(rectangle(size[0], size[1] / 2) + np.array([0, size[1] / 2]), angle) + centre
        canvas.fill_polygon(half, tuple(0.82 * value for value in roof))


def _draw_trees(
    canvas: Canvas, scene: DrawnScene, shadow: np.ndarray, rng: np.random.Generator
) -> None:
    """Draw groups of crowns with shadows, clear of the objects."""
    for _ in range(rng.integers(2, 7)):
        group = rng.uniform(0, 1, 2)
        for _ in range(rng.integers(1, 9)):
            centre, radius = group + rng.normal(0, 0.05, 2), rng.uniform(0.01, 0.026)
            if not _is_clear(scene, centre, radius + TREE_SHADOW):
                continue
            crown = ellipse(radius, radius * rng.uniform(0.8, 1.1)) + centre
            green = vary((58, 88, 48), rng, 10)
            canvas.fill_polygon(crown + TREE_SHADOW * shadow, SHADOW)
            canvas.fill_polygon(crown, green)
            lit = ellipse(radius * 0.55, radius * 0.5) + centre - 0.3 * radius * shadow
            canvas.fill_polygon(lit, tuple(1.2 * value for value in green))


def _is_clear(scene: DrawnScene, centre: np.ndarray, radius: float) -> bool:
    """Whether a disc touches none of the scene's objects."""
    return all(
        np.hypot(*(centre - (target.x, target.y))) > target.radius + radius
        for target in scene.objects
    )


def _add_sensor_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add grain and a random exposure."""
    noisy = image * rng.uniform(0.86, 1.1) + rng.normal(0, 3, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
