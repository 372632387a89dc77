"""From a record to what the model is fed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from pycocotools import mask as coco_mask

from ..structures import ModelInput, ReferRecord
from .augmentation import erase_boxes, is_erased
from .catalog import OBJECT_NAMES
from .orientation import Orientation, allowed_orientations
from .sentence_roles import SentenceRoleParser
from .tokenization import ExpressionTokenizer

EVAL_RESOLUTIONS = ("input", "native")


class RefSegMapper:
    """Reads one sample.

    1. Read the image; its size must be the record's.
    2. In training, draw one of the ref's sentences and, if so configured, black boxes, and another
       orientation of the picture with the words for directions changed to suit.
    3. Resize the image to the network's size (bilinear, aspect ratio not kept).
    4. Tokenize the sentence and, if so configured, tell the roles of its words.
    5. Training: the mask at the network's size (nearest). Evaluation: the mask, run-length encoded,
       at the resolution of scoring, which ``height`` and ``width`` state.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        tokenizer: ExpressionTokenizer,
        image_format: str,
        size: tuple[int, int],
        erase_box_range: tuple[int, int],
        eval_resolution: str,
        role_parser: SentenceRoleParser | None = None,
        orientations: tuple[str, ...] = (),
    ):
        """
        Args:
            is_train: whether the result is for training.
            tokenizer: of the expressions.
            image_format: "RGB" or "BGR".
            size: (height, width) of the network's input, pixels.
            erase_box_range: (fewest, most) black boxes on a fixed fifth of the training refs.
            eval_resolution: "input": score at ``size``; "native": at the image's own size.
            role_parser: tells words for the object from words for its place; None: not told.
            orientations: changes of the picture that training may draw, by name.

        Raises:
            ValueError: another resolution, or an unknown orientation.
        """
        if eval_resolution not in EVAL_RESOLUTIONS:
            raise ValueError(
                f"TEST.EVAL_RESOLUTION is {eval_resolution!r}; known: {', '.join(EVAL_RESOLUTIONS)}"
            )
        self.is_train = is_train
        self.tokenizer = tokenizer
        self.image_format = image_format
        self.size = tuple(size)
        self.role_parser = role_parser
        self.orientations = allowed_orientations(tuple(orientations))
        self.erase_box_range = tuple(erase_box_range)
        self.eval_resolution = eval_resolution

    @classmethod
    def from_config(cls, cfg: CfgNode, *, is_train: bool) -> dict[str, Any]:
        tokenizer = ExpressionTokenizer(
            vocabulary=cfg.INPUT.TOKENIZER, max_tokens=cfg.INPUT.MAX_TOKENS
        )
        return {
            "is_train": is_train,
            "tokenizer": tokenizer,
            "image_format": cfg.INPUT.FORMAT,
            "size": cfg.INPUT.SIZE,
            "erase_box_range": cfg.INPUT.RANDOM_ERASE_BOXES,
            "eval_resolution": cfg.TEST.EVAL_RESOLUTION,
            "role_parser": build_role_parser(cfg, tokenizer),
            "orientations": cfg.INPUT.ORIENTATIONS,
        }

    def __call__(self, record: ReferRecord, rng: np.random.Generator | None = None) -> ModelInput:
        """
        Args:
            record: left as it is.
            rng: makes every random choice; training only.

        Raises:
            ValueError: the image cannot be read or has another size than its record, or the
                sentence is empty; the message names file and ref.
        """
        image = read_image(record, self.image_format)
        position = 0
        if self.is_train:
            assert rng is not None, "training needs a generator for its random choices"
            position = int(rng.integers(len(record["expressions"])))
            if self.erase_box_range[1] and is_erased(record["ref_id"]):
                image = erase_boxes(image, num_boxes=self.erase_box_range, rng=rng)
        expression, orientation = record["expressions"][position], Orientation()
        if len(self.orientations) > 1 and rng is not None:
            expression, orientation = self.reoriented(expression, rng)
        image = resized(orientation.image(image), self.size, cv2.INTER_LINEAR)
        input_ids = self.tokenize(record, position, expression)
        sample: ModelInput = {
            "image": torch.from_numpy(image).permute(2, 0, 1).contiguous().float(),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "expression": expression,
            "height": record["height"],
            "width": record["width"],
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "ref_id": record["ref_id"],
            "sent_id": record["sent_ids"][position],
            "category_id": record["category_id"],
        }
        if self.role_parser is not None:
            sample["is_object"], sample["is_position"] = self.role_parser(expression)
        if "sentence_kinds" in record:
            sample["sentence_kind"] = record["sentence_kinds"][position]
        mask = record["annotations"][0]["segmentation"]
        if self.is_train:
            target = resized(
                orientation.image(coco_mask.decode(mask)), self.size, cv2.INTER_NEAREST
            )
            sample["gt_mask"] = torch.from_numpy(target).bool()
        elif self.eval_resolution == "native":
            sample["gt_rle"] = mask
        else:
            sample["height"], sample["width"] = self.size
            target = resized(coco_mask.decode(mask), self.size, cv2.INTER_NEAREST)
            sample["gt_rle"] = coco_mask.encode(np.asfortranarray(target))
        return sample

    def reoriented(self, expression: str, rng: np.random.Generator) -> tuple[str, Orientation]:
        """One of the allowed orientations and the sentence about it.

        Where the sentence cannot be changed safely, both stay as they are.
        """
        orientation = self.orientations[rng.integers(len(self.orientations))]
        changed = orientation.sentence(expression)
        return (expression, Orientation()) if changed is None else (changed, orientation)

    def tokenize(self, record: ReferRecord, position: int, expression: str) -> torch.Tensor:
        try:
            return self.tokenizer(expression)
        except ValueError as error:
            raise ValueError(
                f"{record['file_name']}: ref {record['ref_id']}, sentence "
                f"{record['sent_ids'][position]}: {error}"
            ) from error


def build_role_parser(cfg: CfgNode, tokenizer: ExpressionTokenizer) -> SentenceRoleParser | None:
    """The parser that INPUT.TOKEN_ROLES asks for, or None."""
    if not cfg.INPUT.TOKEN_ROLES:
        return None
    return SentenceRoleParser(
        tokenizer=tokenizer,
        names=OBJECT_NAMES,
        adds_special_tokens=cfg.INPUT.ROLE_SPECIAL_TOKENS,
    )


def read_image(record: ReferRecord, image_format: str) -> np.ndarray:
    """The record's image (H, W, 3) uint8.

    Raises:
        ValueError: unreadable, cut off, or of another size than the record says.
    """
    try:
        image = detection_utils.read_image(record["file_name"], image_format)
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError on some broken headers
        raise ValueError(
            f"{record['file_name']} (ref {record['ref_id']}) cannot be read as an image: {error}"
        ) from error
    wanted = (record["height"], record["width"])
    if image.shape[:2] != wanted:
        raise ValueError(
            f"{record['file_name']} (ref {record['ref_id']}) is {image.shape[:2]} pixels "
            f"(height, width), its annotation says {wanted}"
        )
    return image


def resized(array: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    if array.shape[:2] == size:
        return array.copy()  # Pillow hands out read-only pixels, torch wants its own
    return cv2.resize(array, (size[1], size[0]), interpolation=interpolation)
