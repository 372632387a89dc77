"""An image with anti-aliased drawing in unit coordinates."""

from __future__ import annotations

import cv2
import numpy as np

from .scene import SceneObject

Colour = tuple[float, ...]  # RGB, three values in [0, 255]
SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates


class Canvas:
    """An RGB image; coordinates are fractions of its side, x right and y down."""

    def __init__(self, *, size: int):
        """
        Args:
            size: side in pixels.
        """
        self.size = size
        self.pixels = np.zeros((size, size, 3), np.uint8)

    def fill_polygon(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon, points (n, 2) as (x, y)."""
        cv2.fillPoly(self.pixels, [self._to_fixed_point(points)], colour, cv2.LINE_AA, SHIFT)

    def draw_line(
        self, points: np.ndarray, colour: Colour, thickness: float, closed: bool = True
    ) -> None:
        """Draw a line through points (n, 2); ``thickness`` as a fraction of the side."""
        width = max(1, round(thickness * self.size))
        cv2.polylines(
            self.pixels, [self._to_fixed_point(points)], closed, colour, width, cv2.LINE_AA, SHIFT
        )

    def _to_fixed_point(self, points: np.ndarray) -> np.ndarray:
        """Convert unit coordinates to OpenCV's fixed-point pixels."""
        # Minus half a pixel: OpenCV puts whole numbers at pixel centres.
        return np.round((points * self.size - 0.5) * 2**SHIFT).astype(np.int32)


def ellipse(
    width: float = 1.0, height: float = 1.0, *, start: float = 0, stop: float = 360
) -> np.ndarray:
    """Points (n, 2) of an elliptic arc around the origin, half axes ``width`` and ``height``."""
    t = np.radians(np.linspace(start, stop, 48))
    return np.stack([width * np.cos(t), height * np.sin(t)], axis=1)


def rectangle(width: float = 1.0, height: float = 1.0) -> np.ndarray:
    """Corners (4, 2) of a rectangle around the origin, half sides ``width`` and ``height``."""
    return np.array([[-width, -height], [width, -height], [width, height], [-width, height]])


def rounded_rectangle(width: float, height: float, radius: float) -> np.ndarray:
    """A rectangle with round corners."""
    corners = ((1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270))
    arcs = [
        ellipse(radius, radius, start=start, stop=start + 90)
        + np.array([sx * (width - radius), sy * (height - radius)])
        for sx, sy, start in corners
    ]
    return np.concatenate(arcs)


def place_points(target: SceneObject, points: np.ndarray) -> np.ndarray:
    """Map points to the image from the object's frame (half length 1 in x, half width 1 in y)."""
    scaled = points * np.array([target.length / 2, target.width / 2])
    return rotate(scaled, target.angle) + np.array([target.x, target.y])


def rotate(points: np.ndarray, angle: float) -> np.ndarray:
    """Rotate points (n, 2) around the origin, from x towards y for positive radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])
