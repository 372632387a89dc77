"""A scene as instance masks show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pycocotools import mask as coco_mask

from ...structures import RunLengthMask
from ..images import decode_mask

# Two masks of one category that share this much are one object that was labelled twice.
SAME_OBJECT_IOU = 0.6


@dataclass(frozen=True)
class ObservedObject:
    """An instance of an annotation file; equal to another where the ids are."""

    annotation_id: int
    category: str = field(compare=False)
    mask: RunLengthMask = field(compare=False)

    def decode(self) -> np.ndarray:
        """The mask, (H, W) bool."""
        return decode_mask(self.mask)

    @cached_property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the mask's centroid, fractions of the image's width and height."""
        rows, columns = np.nonzero(self.decode())
        height, width = self.mask["size"]
        return (float(columns.mean()) + 0.5) / width, (float(rows.mean()) + 0.5) / height

    @property
    def x(self) -> float:
        return self.centre[0]

    @property
    def y(self) -> float:
        return self.centre[1]

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, fractions of the image's width and height."""
        height, width = self.mask["size"]
        left, top, box_width, box_height = coco_mask.toBbox(self.mask).tolist()
        return left / width, top / height, (left + box_width) / width, (top + box_height) / height

    @cached_property
    def area(self) -> float:
        """Fraction of the image."""
        return float(coco_mask.area(self.mask)) / float(np.prod(self.mask["size"]))

    @cached_property
    def is_cut(self) -> bool:
        """Whether it touches the image's border, and so may be larger than what is seen."""
        left, top, right, bottom = self.box
        height, width = self.mask["size"]
        return (
            left < 1 / width or top < 1 / height or right > 1 - 1 / width or bottom > 1 - 1 / height
        )


@dataclass(frozen=True)
class ObservedScene:
    """The instances of one image."""

    file_name: str
    size: tuple[int, int]  # height, width in pixels
    objects: tuple[ObservedObject, ...]
    incomplete: frozenset[str]  # categories of which not every object is labelled
    # Categories with an object that cannot be used: it is there, but not among the objects.
    unusable: frozenset[str] = frozenset()
    # Less than in synthrs, whose objects are large: planes in a row stand this far apart.
    order_margin: float = 0.035

    @property
    def aspect(self) -> float:
        return self.size[0] / self.size[1]

    @cached_property
    def _by_category(self) -> Mapping[str, list[ObservedObject]]:
        groups: dict[str, list[ObservedObject]] = {}
        for found in self.objects:
            groups.setdefault(found.category, []).append(found)
        return groups

    def of_category(self, category: str) -> list[ObservedObject]:
        return self._by_category.get(category, [])

    def is_complete(self, category: str) -> bool:
        return category not in self.incomplete

    def is_absent(self, category: str) -> bool:
        """Whether the image certainly has no object of a category."""
        return not self.of_category(category) and category not in self.incomplete | self.unusable


def find_repeated(objects: Iterable[ObservedObject]) -> list[ObservedObject]:
    """Of every two masks of one category that are nearly the same, the later one."""
    kept: dict[str, list[ObservedObject]] = {}
    repeated = []
    for found in objects:
        others = kept.setdefault(found.category, [])
        masks = [other.mask for other in others]
        overlaps = coco_mask.iou([found.mask], masks, [0] * len(masks)) if masks else np.zeros(1)
        if np.max(overlaps) > SAME_OBJECT_IOU:
            repeated.append(found)
        else:
            others.append(found)
    return repeated
