"""Pixels and a sentence -> what the network is fed; one road for training, scoring and use."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ..resampling import resize_image, resize_mask
from .class_names import OBJECT_NAMES
from .sentence_roles import SentenceRoleParser
from .tokenization import ExpressionTokenizer, configured_tokenizer


class NetworkInput:
    """Resizes pictures to the network's size and tokenizes sentences."""

    @configurable
    def __init__(
        self,
        *,
        size: tuple[int, int],
        tokenizer: ExpressionTokenizer,
        role_parser: SentenceRoleParser | None = None,
    ):
        """
        Args:
            size: (height, width) of the network's input, pixels.
            tokenizer: of the sentences.
            role_parser: tells words for the object from words for its place; None: not told.
        """
        self.size = (size[0], size[1])
        self.tokenizer = tokenizer
        self.role_parser = role_parser

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        tokenizer = configured_tokenizer(cfg)
        parser = SentenceRoleParser(
            tokenizer=tokenizer,
            names=(*OBJECT_NAMES, *cfg.INPUT.OBJECT_NAMES),
            adds_special_tokens=cfg.INPUT.ROLE_SPECIAL_TOKENS,
        )
        return {
            "size": cfg.INPUT.SIZE,
            "tokenizer": tokenizer,
            "role_parser": parser,
        }

    def image(self, pixels: np.ndarray) -> Tensor:
        """
        Args:
            pixels: (height, width, 3) uint8, in the network's channel order.

        Returns:
            (3, H, W) float32 in [0, 255], as ``resize_image`` says; the aspect ratio is not kept.
        """
        return resize_image(pixels, self.size).float()

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (height, width) uint8 at the network's size, as ``resize_mask`` says."""
        return resize_mask(mask, self.size)

    def sentence(self, expression: str) -> dict[str, Any]:
        """The sentence's fields of a ModelInput.

        Raises:
            ValueError: the sentence is empty.
        """
        input_ids = self.tokenizer(expression)
        fields = {
            "expression": expression,
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }
        if self.role_parser is not None:
            fields["is_object"], fields["is_position"] = self.role_parser(expression)
        return fields
