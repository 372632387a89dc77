"""How each category looks from above. Frames: half length 1 along x, half width 1 along y."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Canvas, Colour, ellipse, place_points, rectangle, rounded_rectangle
from .scene import SceneObject

WHITE: Colour = (238, 238, 232)
SHADOW: Colour = (45, 48, 45)


def vary(colour: Colour, rng: np.random.Generator, amount: float = 14) -> Colour:
    """Vary a colour a little in brightness and hue."""
    shift = rng.normal(0, amount) + rng.normal(0, amount / 3, 3)
    return tuple(np.clip(np.array(colour) + shift, 0, 255).tolist())


def _pick_colour(colours: list[Colour], rng: np.random.Generator) -> Colour:
    return vary(colours[rng.integers(len(colours))], rng)


def _draw_tennis_court(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    apron = _pick_colour([(62, 112, 78), (52, 98, 120), (168, 92, 70)], rng)
    surface = _pick_colour([(64, 118, 158), (70, 140, 90), (60, 100, 150)], rng)
    canvas.fill_polygon(place_points(target, rectangle()), apron)
    canvas.fill_polygon(place_points(target, rectangle(0.74, 0.72)), surface)
    thin = 0.022 * target.length
    canvas.draw_line(place_points(target, rectangle(0.74, 0.72)), WHITE, thin)
    canvas.draw_line(place_points(target, rectangle(0.74, 0.5)), WHITE, thin * 0.7)
    for u in (-0.4, 0.4):
        canvas.draw_line(place_points(target, np.array([[u, -0.5], [u, 0.5]])), WHITE, thin * 0.7)
    canvas.draw_line(place_points(target, np.array([[-0.4, 0], [0.4, 0]])), WHITE, thin * 0.7)
    canvas.draw_line(
        place_points(target, np.array([[0, -0.85], [0, 0.85]])), (30, 36, 40), thin * 1.4
    )


def _draw_basketball_court(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    surface = _pick_colour([(196, 130, 74), (184, 108, 70), (206, 150, 96)], rng)
    key = _pick_colour([(150, 62, 52), (74, 92, 150), (120, 70, 110)], rng)
    canvas.fill_polygon(place_points(target, rectangle()), surface)
    thin = 0.022 * target.length
    for side in (-1, 1):
        corners = np.array([[0.92, -0.34], [0.52, -0.34], [0.52, 0.34], [0.92, 0.34]])
        canvas.fill_polygon(place_points(target, corners * side), key)
        arc = ellipse(0.56, 0.78, start=98, stop=262) + np.array([0.86, 0])
        canvas.draw_line(place_points(target, arc * side), WHITE, thin * 0.8, closed=False)
    canvas.fill_polygon(place_points(target, ellipse(0.17, 0.3)), key)
    canvas.draw_line(place_points(target, ellipse(0.17, 0.3)), WHITE, thin * 0.8)
    canvas.draw_line(place_points(target, rectangle(0.92, 0.86)), WHITE, thin)
    canvas.draw_line(place_points(target, np.array([[0, -0.86], [0, 0.86]])), WHITE, thin)


def _draw_ground_track_field(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    track = _pick_colour([(176, 82, 66), (190, 98, 80), (160, 74, 70)], rng)
    grass = _pick_colour([(84, 138, 70), (102, 148, 78)], rng)
    canvas.fill_polygon(place_points(target, _oval(target)), track)
    for shrink in (0.09, 0.18):
        canvas.draw_line(place_points(target, _oval(target, shrink)), WHITE, 0.004)
    canvas.fill_polygon(place_points(target, _oval(target, 0.28)), grass)
    canvas.draw_line(place_points(target, rectangle(0.5, 0.58)), WHITE, 0.005)
    canvas.draw_line(place_points(target, np.array([[0, -0.58], [0, 0.58]])), WHITE, 0.005)
    canvas.draw_line(place_points(target, ellipse(0.11, 0.2)), WHITE, 0.006)


def _draw_baseball_field(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    grass = _pick_colour([(92, 146, 72), (110, 156, 86)], rng)
    soil = _pick_colour([(188, 146, 102), (176, 128, 88)], rng)
    outfield = _fan(radius=1.62, half_angle=44)
    canvas.fill_polygon(place_points(target, outfield), grass)
    canvas.draw_line(place_points(target, outfield), vary(soil, rng), 0.012)
    canvas.fill_polygon(place_points(target, _fan(radius=0.98, half_angle=45)), soil)
    diamond = np.array([[-0.62, 0], [-0.22, -0.38], [0.14, 0], [-0.22, 0.38]])
    canvas.fill_polygon(place_points(target, diamond), grass)
    canvas.fill_polygon(place_points(target, ellipse(0.09, 0.09) + np.array([-0.22, 0])), soil)


def _draw_roundabout(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    asphalt = _pick_colour([(112, 112, 114), (96, 98, 102)], rng)
    island = _pick_colour([(96, 146, 76), (124, 150, 86), (150, 150, 120)], rng)
    canvas.fill_polygon(place_points(target, ellipse()), vary((196, 194, 186), rng))
    canvas.fill_polygon(place_points(target, ellipse(0.94, 0.94)), asphalt)
    canvas.draw_line(place_points(target, ellipse(0.74, 0.74)), WHITE, 0.004)
    canvas.fill_polygon(place_points(target, ellipse(0.5, 0.5)), (206, 204, 196))
    canvas.fill_polygon(place_points(target, ellipse(0.44, 0.44)), island)
    canvas.fill_polygon(place_points(target, ellipse(0.14, 0.14)), vary((70, 104, 58), rng))


def _draw_swimming_pool(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    deck = _pick_colour([(214, 206, 190), (198, 190, 178), (186, 160, 132)], rng)
    water = _pick_colour([(70, 190, 214), (84, 204, 220), (60, 168, 206)], rng)
    canvas.fill_polygon(place_points(target, rounded_rectangle(1.0, 1.0, 0.3)), deck)
    if rng.random() < 0.5:
        basin = [rounded_rectangle(0.78, 0.68, 0.2)]
    else:
        lobes = [(0.46, 0.62, -0.3, 0.0), (0.44, 0.52, 0.32, 0.08)]
        basin = [rectangle(0.3, 0.5)]
        basin += [ellipse(width, height) + np.array([x, y]) for width, height, x, y in lobes]
    for part in basin:
        canvas.fill_polygon(place_points(target, part), water)
    canvas.fill_polygon(
        place_points(target, ellipse(0.24, 0.2) + np.array([-0.3, -0.1])), vary(water, rng, 6)
    )


def _draw_storage_tank(canvas: Canvas, target: SceneObject, rng: np.random.Generator) -> None:
    roof = _pick_colour([(228, 228, 224), (206, 206, 200), (188, 180, 168)], rng)
    canvas.fill_polygon(place_points(target, ellipse()), tuple(0.72 * c for c in roof))
    canvas.fill_polygon(place_points(target, ellipse(0.9, 0.9)), roof)
    canvas.draw_line(
        place_points(target, ellipse(0.55, 0.55)), tuple(0.84 * c for c in roof), 0.005
    )
    canvas.draw_line(
        place_points(target, np.array([[0, 0], [0.86, 0]])), tuple(0.7 * c for c in roof), 0.008
    )
    canvas.fill_polygon(place_points(target, ellipse(0.1, 0.1)), tuple(0.66 * c for c in roof))


def _fan(*, radius: float, half_angle: float) -> np.ndarray:
    """A baseball field's sector around the home plate, ``half_angle`` in degrees."""
    home = np.array([[-0.78, 0.0]])
    return np.concatenate(
        [home, ellipse(radius, radius, start=-half_angle, stop=half_angle) + home]
    )


def _oval(target: SceneObject, shrink: float = 0.0) -> np.ndarray:
    """A running track: two half circles and two straights, ``shrink`` half widths further in."""
    straight = 1 - target.width / target.length
    bend = (1 - shrink) * target.width / target.length
    right = ellipse(bend, 1 - shrink, start=-90, stop=90) + np.array([straight, 0])
    return np.concatenate([right, -right])


DRAW: dict[str, Callable[[Canvas, SceneObject, np.random.Generator], None]] = {
    "baseball field": _draw_baseball_field,
    "basketball court": _draw_basketball_court,
    "ground track field": _draw_ground_track_field,
    "roundabout": _draw_roundabout,
    "swimming pool": _draw_swimming_pool,
    "storage tank": _draw_storage_tank,
    "tennis court": _draw_tennis_court,
}


def footprint(target: SceneObject) -> np.ndarray:
    """The object's outline in the image, points (n, 2), which is its mask."""
    if target.category == "baseball field":
        shape = _fan(radius=1.62, half_angle=44)
    elif target.category == "ground track field":
        shape = _oval(target)
    elif target.category == "swimming pool":
        shape = rounded_rectangle(1.0, 1.0, 0.3)
    elif target.category in ("roundabout", "storage tank"):
        shape = ellipse()
    else:
        shape = rectangle()
    return place_points(target, shape)
