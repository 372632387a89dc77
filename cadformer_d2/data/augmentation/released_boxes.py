"""The black boxes of the released training code (RMSIN, FIANet, CADFormer)."""

from __future__ import annotations

import zlib

import numpy as np
from detectron2.data import transforms as T

from .build import AUGMENTATION_REGISTRY
from .pixels import BoxesTransform

BOX_SIDE = 32  # pixels of the image file
ERASED_SHARE = 5  # one training ref in this many gets boxes


def _is_erased(ref_id: int) -> bool:
    """Whether a ref belongs to the fixed fifth of the training set that gets black boxes."""
    return zlib.crc32(str(ref_id).encode()) % ERASED_SHARE == 0


@AUGMENTATION_REGISTRY.register()
class ReleasedBoxes(T.Augmentation):
    """Black 32 x 32 squares at uniform positions on a fixed fifth of the refs."""

    def __init__(self, fewest: int, most: int):
        """
        Args:
            fewest, most: number of squares, both ends included.
        """
        super().__init__()
        self.fewest = fewest
        self.most = most

    def get_transform(
        self, image: np.ndarray, ref_id: int, rng: np.random.Generator
    ) -> T.Transform:
        if not _is_erased(ref_id):
            return T.NoOpTransform()
        height, width = image.shape[:2]
        corners = []
        for _ in range(rng.integers(self.fewest, self.most, endpoint=True)):
            top = rng.integers(max(height - BOX_SIDE, 0), endpoint=True)
            left = rng.integers(max(width - BOX_SIDE, 0), endpoint=True)
            corners.append((int(top), int(left)))
        return BoxesTransform(corners, side=BOX_SIDE)
