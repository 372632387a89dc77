"""Augmentations of a training image, its mask and its expression together.

Importing a module here registers its augmentations, so that INPUT.AUGMENTATIONS knows their names.
"""

from .build import AUGMENTATION_REGISTRY, build_augmentations, list_augmentations
from .cutting import RandomCropKeepingTarget, RandomZoom
from .expression_input import ExpressionAugInput, seed_numpy
from .orienting import RandomOrientation
from .pixels import RandomBlur, RandomCutout, RandomNoise
from .released_boxes import ReleasedBoxes

__all__ = [
    "AUGMENTATION_REGISTRY",
    "ExpressionAugInput",
    "RandomBlur",
    "RandomCropKeepingTarget",
    "RandomCutout",
    "RandomNoise",
    "RandomOrientation",
    "RandomZoom",
    "ReleasedBoxes",
    "build_augmentations",
    "list_augmentations",
    "seed_numpy",
]
