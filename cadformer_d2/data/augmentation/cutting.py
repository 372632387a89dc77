"""Augmentations that crop the image or pad it."""

from __future__ import annotations

import numpy as np
from detectron2.data import transforms as T

from .build import AUGMENTATION_REGISTRY


@AUGMENTATION_REGISTRY.register()
class RandomCropKeepingTarget(T.Augmentation):
    """A crop that contains all targets whole, uniform among all such crops; any without a target.

    Like every crop, it is refused if the expression depends on the frame.
    """

    def __init__(self, share_min: float, share_max: float = 1.0):
        """
        Args:
            share_min, share_max: range of the crop's sides as shares of the image's, drawn
                separately for height and width. A side is never shorter than the targets.
        """
        super().__init__()
        if not 0 < share_min <= share_max <= 1:
            raise ValueError(f"shares are {share_min} to {share_max}; expected a range in (0, 1]")
        self.share_min = share_min
        self.share_max = share_max

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        if len(boxes):
            x0, y0, x1, y1 = boxes[0].astype(int).tolist()
        else:
            # Any crop will do, and a crop must not tell that there is a target.
            x0 = x1 = np.random.randint(width + 1)
            y0 = y1 = np.random.randint(height + 1)
        left, w = self._interval(x0, x1, width)
        top, h = self._interval(y0, y1, height)
        return T.CropTransform(left, top, w, h, orig_w=width, orig_h=height)

    def _interval(self, first: int, last: int, length: int) -> tuple[int, int]:
        """Start and length of the crop on an axis where the targets cover [first, last)."""
        share = self._rand_range(self.share_min, self.share_max)
        side = max(1, last - first, round(float(share) * length))
        start = np.random.randint(max(0, last - side), min(first, length - side) + 1)
        return int(start), side


@AUGMENTATION_REGISTRY.register()
class RandomZoom(T.Augmentation):
    """Scaling about the centre of the image, which keeps its size.

    Below 1 the image shrinks within a grey frame, and every expression stays true. Above 1 its
    border is cut off, and the expression must allow it as for a crop.
    """

    def __init__(self, scale_min: float, scale_max: float, fill: int = 128):
        """
        Args:
            scale_min, scale_max: range of the scale, whose logarithm is uniform.
            fill: grey level around the image, 0 to 255.
        """
        super().__init__()
        if not 0 < scale_min <= scale_max or not 0 <= fill <= 255:
            raise ValueError(
                f"scale is {scale_min} to {scale_max} and fill {fill}; expected a range above 0 "
                "and a grey level from 0 to 255"
            )
        self.scale_min = scale_min
        self.scale_max = scale_max
        self.fill = fill

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        scale = np.exp(self._rand_range(np.log(self.scale_min), np.log(self.scale_max)))
        if scale > 1:
            h, w = max(1, round(height / scale)), max(1, round(width / scale))
            crop = T.CropTransform((width - w) // 2, (height - h) // 2, w, h)
            return T.TransformList([crop, T.ResizeTransform(h, w, height, width)])
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (height - h) // 2, (width - w) // 2
        around = (left, top, width - w - left, height - h - top)
        pad = T.PadTransform(*around, orig_w=w, orig_h=h, pad_value=self.fill)
        return T.TransformList([T.ResizeTransform(height, width, h, w), pad])
