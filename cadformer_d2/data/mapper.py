"""From a record to the model's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from pycocotools import mask as coco_mask

from ..structures import ModelInput, ReferRecord
from .augmentation import ExpressionAugInput, build_augmentations, seed_numpy
from .image_file import read_image
from .masks import unite_targets
from .network_input import NetworkInput

EVAL_RESOLUTIONS = ("input", "native")


class RefSegMapper:
    """Maps a record to the model's input.

    1. Read the image; it must have the size that the record says.
    2. In training, draw one of the ref's expressions and augment image, mask and expression
       together, without transforms that would make the expression false.
    3. Resize the image to the network's size and tokenize the expression.
    4. Training: the mask at the network's size (nearest). Evaluation: the mask, run-length encoded,
       at the resolution of scoring, given by ``height`` and ``width``. The mask is the union of the
       record's targets, and empty if it has none.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        network_input: NetworkInput,
        image_format: str,
        augmentations: Sequence[T.Augmentation | T.Transform],
        eval_resolution: str,
    ):
        """
        Args:
            is_train: whether the result is for training.
            network_input: resizes and tokenizes.
            image_format: "RGB" or "BGR".
            augmentations: Detectron2's or written the same way; applied in training to an
                ``ExpressionAugInput`` at the image's own size.
            eval_resolution: "input": score at the network's size; "native": at the image's own.

        Raises:
            ValueError: unknown ``eval_resolution``.
        """
        if eval_resolution not in EVAL_RESOLUTIONS:
            raise ValueError(
                f"TEST.EVAL_RESOLUTION is {eval_resolution!r}; known: {', '.join(EVAL_RESOLUTIONS)}"
            )
        self.is_train = is_train
        self.network_input = network_input
        self.image_format = image_format
        self.augmentations = T.AugmentationList(augmentations)
        self.eval_resolution = eval_resolution
        self.last_read: tuple[str, np.ndarray] | None = None  # file name and its pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, *, is_train: bool) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "network_input": NetworkInput(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "augmentations": build_augmentations(cfg) if is_train else [],
            "eval_resolution": cfg.TEST.EVAL_RESOLUTION,
        }

    def __call__(self, record: ReferRecord, rng: np.random.Generator | None = None) -> ModelInput:
        """
        Args:
            record: not changed.
            rng: makes every random choice; training only.

        Raises:
            ValueError: the image cannot be read or does not have the size of its record, or the
                expression is empty; the message names file and ref.
        """
        image = self._load_image(record)
        position, expression, mask = 0, record["expressions"][0], None
        if self.is_train:
            assert rng is not None, "training needs a generator for its random choices"
            position = int(rng.integers(len(record["expressions"])))
            image, mask, expression = self._augment(record, image, position, rng)
        sample = {
            "image": self.network_input.prepare_image(image),
            **self._tokenize(record, position, expression),
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "ref_id": record["ref_id"],
            "sent_id": record["sent_ids"][position],
            "category_id": record["category_id"],
            "num_targets": len(record["annotations"]),
            **self._make_target(record, mask),
        }
        if "sentence_kinds" in record:
            sample["sentence_kind"] = record["sentence_kinds"][position]
        return cast(ModelInput, sample)

    def _augment(
        self, record: ReferRecord, image: np.ndarray, position: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Augment image, mask and expression for training."""
        mask = coco_mask.decode(unite_targets(record))
        expression = record["expressions"][position]
        if not self.augmentations.augs:
            return image, mask, expression
        sample = ExpressionAugInput(
            image, sem_seg=mask, expression=expression, ref_id=record["ref_id"], rng=rng
        )
        with seed_numpy(rng):
            self.augmentations(sample)
        return sample.image, sample.sem_seg, sample.expression

    def _load_image(self, record: ReferRecord) -> np.ndarray:
        """The record's pixels, read-only; decoded once for consecutive records of one image.

        In evaluation all expressions about an image follow one another.
        """
        if self.last_read is None or self.last_read[0] != record["file_name"]:
            self.last_read = (record["file_name"], read_record_image(record, self.image_format))
        image = self.last_read[1]
        _refuse_other_size(image, record)  # two records may disagree about one file
        return image

    def _tokenize(self, record: ReferRecord, position: int, expression: str) -> dict[str, Any]:
        try:
            return self.network_input.prepare_expression(expression)
        except ValueError as error:
            raise ValueError(
                f"{record['file_name']}: ref {record['ref_id']}, expression "
                f"{record['sent_ids'][position]}: {error}"
            ) from error

    def _make_target(self, record: ReferRecord, mask: np.ndarray | None) -> dict[str, Any]:
        """The mask and the resolution (height, width) at which it is compared.

        Args:
            mask: (height, width) uint8 after augmentation; None in evaluation.
        """
        native = {"height": record["height"], "width": record["width"]}
        if mask is not None:
            trained = self.network_input.prepare_mask(np.ascontiguousarray(mask))
            return {**native, "gt_mask": torch.from_numpy(trained).bool()}
        encoded = unite_targets(record)
        if self.eval_resolution == "native":
            return {**native, "gt_rle": encoded}
        height, width = self.network_input.size
        scored = self.network_input.prepare_mask(np.ascontiguousarray(coco_mask.decode(encoded)))
        scored_rle = coco_mask.encode(np.asfortranarray(scored))
        return {"height": height, "width": width, "gt_rle": scored_rle}


def read_record_image(record: ReferRecord, image_format: str) -> np.ndarray:
    """Read a record's image, (H, W, 3) uint8.

    Raises:
        ValueError: the image is missing, unreadable, or not of the size that the record says.
    """
    try:
        image = read_image(record["file_name"], image_format)
    except (OSError, ValueError) as error:
        raise ValueError(f"ref {record['ref_id']}: {error}") from error
    _refuse_other_size(image, record)
    return image


def _refuse_other_size(image: np.ndarray, record: ReferRecord) -> None:
    """Raise ValueError unless an image has the size that its record says."""
    wanted = (record["height"], record["width"])
    if image.shape[:2] != wanted:
        raise ValueError(
            f"{record['file_name']} (ref {record['ref_id']}) is {image.shape[:2]} pixels "
            f"(height, width), but its annotation says {wanted}"
        )
