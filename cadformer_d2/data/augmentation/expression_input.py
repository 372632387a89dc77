"""Input of augmentations: image, mask and expression, which must stay consistent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from detectron2.data import transforms as T

from ..frame_words import depends_on_frame
from ..orientation import Orientation, list_orientations

# Signs of x and y of the corners relative to the centre: upper left, upper right, lower right,
# lower left. y points down.
CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
EVERY_ORIENTATION = list_orientations(("horizontal_flip", "quarter_turns"))
# Pixels by which Detectron2's transforms may miss a corner, because sizes are whole numbers.
TOLERANCE = 1.0


class ExpressionAugInput(T.AugInput):
    """Detectron2's ``AugInput`` with an expression about the targets, usually one.

    Where a transform moves the corners of the image decides about the expression. If the whole
    image stays visible around the same centre, it was flipped, turned or scaled, and the words for
    directions are changed to match. Otherwise (a crop, a shift, a rotation by a few degrees) the
    targets must stay whole, and the expression must not depend on the frame (places, extremes,
    counts). A transform that might make the expression false is not applied at all.

    So "all tanks" and "both tanks" keep the whole image in view, although a part that holds every
    tank would do; "the tanks" may lose what is not a tank. What is not in an image is in no part of
    it: without a target, every expression that does not depend on the frame stays true.
    """

    image: np.ndarray
    sem_seg: np.ndarray
    # (1, 4) x1, y1, x2, y2 around all targets in pixels; (0, 4) without a target
    boxes: np.ndarray

    def __init__(
        self,
        image: np.ndarray,
        *,
        sem_seg: np.ndarray,
        expression: str,
        ref_id: int,
        rng: np.random.Generator,
    ):
        """
        Args:
            image: (height, width, 3) uint8, not changed.
            sem_seg: mask (height, width) uint8, 1 on the targets.
            expression: about the targets.
            ref_id: of the sample.
            rng: random numbers for augmentations that take it.
        """
        super().__init__(image, boxes=_box_xyxy(sem_seg), sem_seg=sem_seg)
        self.expression = expression
        self.ref_id = ref_id
        self.rng = rng

    def transform(self, tfm: T.Transform) -> None:
        """Apply a transform to everything, or to nothing.

        Raises:
            TypeError: its pixels are not uint8, or it does not implement ``apply_coords``.
        """
        image = tfm.apply_image(self.image)
        if image.dtype != np.uint8:
            raise TypeError(f"{tfm} turns the image into {image.dtype}; it must stay uint8")
        expression = self._expression_after(tfm, image.shape[:2])
        if expression is None:
            return
        # Padding is marked with numbers other than 1 and is not the target.
        mask = np.asarray(tfm.apply_segmentation(self.sem_seg) == 1, np.uint8)
        self.image, self.sem_seg, self.expression = image, mask, expression
        self.boxes = _box_xyxy(mask)

    def _expression_after(self, tfm: T.Transform, size: tuple[int, int]) -> str | None:
        """The expression for the new image of (height, width); None if it might be false."""
        height, width = self.image.shape[:2]
        corners = _move(tfm, (CORNERS + 1) / 2 * (width, height))
        orientation = _find_orientation(corners, size)
        if orientation is not None:
            return orientation.reword(self.expression)
        if depends_on_frame(self.expression):
            return None
        target = _move(tfm, _corners_of(self.boxes))
        is_whole = (target > -1e-3).all() and (target < np.array(size[::-1]) + 1e-3).all()
        return self.expression if is_whole else None


def _find_orientation(corners: np.ndarray, size: tuple[int, int]) -> Orientation | None:
    """How the image is oriented in a new one with the same centre; None if it is not whole there.

    Args:
        corners: (4, 2) x, y of the image's corners in the new image, in the order of CORNERS.
        size: (height, width) of the new image.
    """
    half = np.array(size[::-1]) / 2
    from_middle = corners - half
    reach = np.abs(from_middle).max(0)
    is_inside = (reach <= half + TOLERANCE).all() and (reach > 0).all()
    if not is_inside or (np.abs(np.abs(from_middle) - reach) > TOLERANCE).any():
        return None
    signs = np.sign(from_middle)
    for orientation in EVERY_ORIENTATION:
        if (signs == _turn(CORNERS, orientation)).all():
            return orientation
    return None


def _turn(points: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turn points (n, 2), relative to the centre with x right and y down, to an orientation."""
    x, y = points.T
    if orientation.mirrored:
        x = -x
    for _ in range(orientation.quarter_turns):
        x, y = y, -x
    return np.stack([x, y], axis=1)


def _move(tfm: T.Transform, points: np.ndarray) -> np.ndarray:
    """Move points (n, 2) as the transform does."""
    try:
        # A copy, because some transforms write into their input.
        return np.asarray(tfm.apply_coords(np.array(points, float)))
    except NotImplementedError as error:
        raise TypeError(
            f"{type(tfm).__name__} does not implement apply_coords, which decides whether an "
            "expression stays true"
        ) from error


def _box_xyxy(mask: np.ndarray) -> np.ndarray:
    """The box (1, 4) around a mask, in pixels; (0, 4) for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.empty((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], float)


def _corners_of(boxes: np.ndarray) -> np.ndarray:
    """Corners (4 n, 2) of boxes (n, 4)."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)


@contextmanager
def seed_numpy(rng: np.random.Generator) -> Iterator[None]:
    """Seed np.random, which Detectron2's augmentations use, from ``rng`` within the context.

    The state of ``rng`` does not change.
    """
    before = np.random.get_state()
    np.random.seed(rng.spawn(1)[0].integers(2**32))
    try:
        yield
    finally:
        np.random.set_state(before)
