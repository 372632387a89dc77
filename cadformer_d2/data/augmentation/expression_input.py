"""What an augmentation changes: image, mask and expression, which must stay true together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from detectron2.data import transforms as T

from ..frame_words import depends_on_frame
from ..orientation import Orientation, allowed_orientations

# Signs of x and y of the corners, seen from the middle: upper left, upper right, lower right, lower
# left. y points down.
CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
EVERY_ORIENTATION = allowed_orientations(("horizontal_flip", "quarter_turns"))
# Pixels by which Detectron2's transforms may miss a corner, since sizes are whole numbers.
TOLERANCE = 1.0


class ExpressionAugInput(T.AugInput):
    """Detectron2's input of augmentations with an expression about the target.

    A transform is judged by where it takes the corners of the image. Where the whole image is
    still seen around the same middle, it was flipped, turned or scaled, and the words for
    directions follow. Where not (a crop, a shift, a turn by a few degrees), the target must remain
    whole, and the expression may say nothing that depends on the frame: places, extremes, counts.
    A transform after which the expression might be false is left out as a whole.
    """

    image: np.ndarray
    sem_seg: np.ndarray
    boxes: np.ndarray  # (1, 4) x1, y1, x2, y2 of the target in pixels; (0, 4) where there is none

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
            image: (height, width, 3) uint8, left as it is.
            sem_seg: the target's mask (height, width) uint8, 1 on the target.
            expression: about the target.
            ref_id: of the sample.
            rng: makes the random choices of augmentations that ask for it.
        """
        super().__init__(image, boxes=_box_xyxy(sem_seg), sem_seg=sem_seg)
        self.expression = expression
        self.ref_id = ref_id
        self.rng = rng

    def transform(self, tfm: T.Transform) -> None:
        """Apply a transform to everything, or to nothing.

        Raises:
            TypeError: it makes pixels other than uint8, or does not say where it takes them.
        """
        image = tfm.apply_image(self.image)
        if image.dtype != np.uint8:
            raise TypeError(f"{tfm} makes {image.dtype} of the image; needed: uint8")
        expression = self._expression_after(tfm, image.shape[:2])
        if expression is None:
            return
        # What was padded is marked with other numbers than 1 and is not the target.
        mask = np.asarray(tfm.apply_segmentation(self.sem_seg) == 1, np.uint8)
        self.image, self.sem_seg, self.expression = image, mask, expression
        self.boxes = _box_xyxy(mask)

    def _expression_after(self, tfm: T.Transform, size: tuple[int, int]) -> str | None:
        """The expression about the new image of that (height, width); None: it might be false."""
        height, width = self.image.shape[:2]
        corners = _moved(tfm, (CORNERS + 1) / 2 * (width, height))
        orientation = seen_orientation(corners, size)
        if orientation is not None:
            return orientation.sentence(self.expression)
        if depends_on_frame(self.expression):
            return None
        target = _moved(tfm, _corners_of(self.boxes))
        is_whole = (target > -1e-3).all() and (target < np.array(size[::-1]) + 1e-3).all()
        return self.expression if is_whole else None


def seen_orientation(corners: np.ndarray, size: tuple[int, int]) -> Orientation | None:
    """How a whole image lies in a new one around the same middle; None where it does not.

    Args:
        corners: (4, 2) x, y of the image's corners in the new one, in the order of CORNERS.
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
        if (signs == _turned(CORNERS, orientation)).all():
            return orientation
    return None


def _turned(points: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Points (n, 2) around the middle, x to the right and y down, in another orientation."""
    x, y = points.T
    if orientation.mirrored:
        x = -x
    for _ in range(orientation.quarter_turns):
        x, y = y, -x
    return np.stack([x, y], axis=1)


def _moved(tfm: T.Transform, points: np.ndarray) -> np.ndarray:
    """Where points (n, 2) lie afterwards."""
    try:
        # A copy, as some transforms write into what they are given.
        return np.asarray(tfm.apply_coords(np.array(points, float)))
    except NotImplementedError as error:
        raise TypeError(
            f"{type(tfm).__name__} does not say where it takes a pixel (apply_coords), so nobody "
            "can tell whether an expression stays true"
        ) from error


def _box_xyxy(mask: np.ndarray) -> np.ndarray:
    """(1, 4) the target's box in pixels; (0, 4) of an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.empty((0, 4))
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], float)


def _corners_of(boxes: np.ndarray) -> np.ndarray:
    """(4 n, 2) corners of boxes (n, 4)."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)


@contextmanager
def seeded_numpy(rng: np.random.Generator) -> Iterator[None]:
    """np.random, from which Detectron2's augmentations draw, follows ``rng`` within the context.

    ``rng`` itself draws nothing.
    """
    before = np.random.get_state()
    np.random.seed(rng.spawn(1)[0].integers(2**32))
    try:
        yield
    finally:
        np.random.set_state(before)
