"""One scene drawn like an aerial photograph, to ask a model about that was trained on such.

synthrs is drawn for models that learn from it; one that knows photographs alone recognises little
of it beside its ground track fields.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 480  # pixels
ENLARGED = 4  # drawn so much larger and averaged: smooth edges
WHITE, LINE = (235, 235, 235), (205, 150, 135)
GRASS, SAND = (92, 126, 70), (186, 146, 104)
TANKS = ((345, 300, 26), (410, 300, 26), (345, 365, 26), (410, 365, 26), (300, 420, 16))  # x, y, r


def draw_example_scene() -> np.ndarray:
    """A ground track field, three tennis courts, five storage tanks and a baseball diamond.

    Returns:
        (480, 480, 3) uint8 RGB, the same at every call.
    """
    rng = np.random.default_rng(3)
    ground = _ground(rng)
    canvas = cv2.resize(ground, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_LINEAR)
    _draw_road(canvas)
    for x, y, radius in TANKS:
        _draw_storage_tank(canvas, x, y, radius)
    _draw_ground_track_field(canvas, x=130, y=110)
    for x in (300, 348, 396):
        _draw_tennis_court(canvas, x, y=60)
    _draw_baseball_diamond(canvas, x=80, y=430)
    scene = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    scene = cv2.GaussianBlur(scene, (0, 0), 0.7) + rng.normal(size=scene.shape) * 3
    return scene.clip(0, 255).astype(np.uint8)


def _ground(rng: np.random.Generator) -> np.ndarray:
    """Dry grass: noise at several scales."""
    height = np.zeros((SIDE, SIDE), np.float32)
    for scale, strength in ((8, 6), (32, 10), (120, 14), (SIDE, 8)):
        side = max(2, SIDE // scale)
        noise = rng.normal(size=(side, side)).astype(np.float32)
        height += strength * cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    height += 4 * rng.normal(size=(SIDE, SIDE)).astype(np.float32)
    return height[..., None] + np.array([118, 120, 92], np.float32)


def _long(length: float) -> int:
    """In the canvas's pixels."""
    return round(length * ENLARGED)


def _at(*lengths: float) -> list[int]:
    return [_long(length) for length in lengths]


def _rectangle(
    canvas: np.ndarray,
    corners: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    width: int = -1,
) -> None:
    """Of (left, top, right, bottom); a negative width fills it."""
    left, top, right, bottom = _at(*corners)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, width)


def _disc(
    canvas: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    cv2.circle(canvas, _at(x, y), _long(radius), colour, -1, cv2.LINE_AA)


def _draw_road(canvas: np.ndarray) -> None:
    for colour, width in (((150, 148, 142), 16), ((200, 198, 190), 1)):
        cv2.line(canvas, _at(0, 250), _at(SIDE, 235), colour, _long(width))


def _draw_storage_tank(canvas: np.ndarray, x: float, y: float, radius: float) -> None:
    _disc(canvas, x + 8, y + 8, radius, (60, 62, 55))  # its shadow
    _disc(canvas, x, y, radius + 1, (170, 168, 160))
    _disc(canvas, x, y, radius - 1, (225, 224, 218))
    _disc(canvas, x - 2, y - 2, 0.55 * radius, (236, 236, 232))
    stairs = _at(x + 0.7 * radius, y - 0.6 * radius)
    cv2.line(canvas, _at(x, y), stairs, (185, 184, 178), _long(1))


def _draw_ground_track_field(canvas: np.ndarray, x: float, y: float) -> None:
    def stadium(radius: float, colour: tuple[int, int, int]) -> None:
        _rectangle(canvas, (x - 60, y - radius, x + 60, y + radius), colour)
        _disc(canvas, x - 60, y, radius, colour)
        _disc(canvas, x + 60, y, radius, colour)

    for lane in (58, 54, 50, 46):  # from outside: a lane, then its line
        stadium(lane, (172, 92, 72))
        if lane > 46:
            stadium(lane - 3.5, LINE)
    stadium(42, (96, 128, 70))
    for stripe in range(-54, 55, 18):  # as mown
        _rectangle(canvas, (x + stripe, y - 34, x + stripe + 9, y + 34), (104, 138, 76))
    line = ENLARGED // 2
    _rectangle(canvas, (x - 55, y - 34, x + 55, y + 34), WHITE, line)
    cv2.line(canvas, _at(x, y - 34), _at(x, y + 34), WHITE, line)
    cv2.circle(canvas, _at(x, y), _long(10), WHITE, line)


def _draw_tennis_court(canvas: np.ndarray, x: float, y: float) -> None:
    _rectangle(canvas, (x, y, x + 46, y + 92), (82, 122, 92))
    _rectangle(canvas, (x + 10, y + 14, x + 36, y + 78), (64, 96, 150))
    line = ENLARGED // 2 + 1
    for left, top in ((10, 14), (13, 14), (13, 30)):  # doubles, singles, service
        _rectangle(canvas, (x + left, y + top, x + 46 - left, y + 92 - top), WHITE, line)
    cv2.line(canvas, _at(x + 23, y + 30), _at(x + 23, y + 62), WHITE, line)
    cv2.line(canvas, _at(x + 8, y + 46), _at(x + 38, y + 46), (40, 50, 45), _long(1))  # the net


def _draw_baseball_diamond(canvas: np.ndarray, x: float, y: float) -> None:
    """With home plate in its lower left corner."""
    for radius, colour in ((120, GRASS), (72, SAND)):
        cv2.ellipse(canvas, _at(x, y), _at(radius, radius), 0, -90, 0, colour, -1, cv2.LINE_AA)
    _rectangle(canvas, (x + 6, y - 44, x + 44, y - 6), (96, 132, 72))
    _disc(canvas, x + 25, y - 25, 5, SAND)
    _disc(canvas, x + 4, y - 4, 10, SAND)
    for end in ((x + 118, y), (x, y - 118)):
        cv2.line(canvas, _at(x, y), _at(*end), WHITE, ENLARGED // 2)
