"""Image and expression -> network input, the same way in training, evaluation and inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from ..resampling import resize_image, resize_mask
from .class_names import OBJECT_NAMES
from .expression_roles import ExpressionRoleParser
from .tokenization import ExpressionTokenizer, build_tokenizer


class NetworkInput:
    """Resizes images to the network's size and tokenizes expressions."""

    @configurable
    def __init__(
        self,
        *,
        size: tuple[int, int],
        tokenizer: ExpressionTokenizer,
        role_parser: ExpressionRoleParser | None = None,
    ):
        """
        Args:
            size: (height, width) of the network's input, pixels.
            tokenizer: of the expressions.
            role_parser: finds the words for the object and for its place; None: not needed.
        """
        self.size = (size[0], size[1])
        self.tokenizer = tokenizer
        self.role_parser = role_parser

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        tokenizer = build_tokenizer(cfg)
        parser = ExpressionRoleParser(
            tokenizer=tokenizer,
            names=(*OBJECT_NAMES, *cfg.INPUT.OBJECT_NAMES),
            adds_special_tokens=cfg.INPUT.ROLE_SPECIAL_TOKENS,
        )
        return {
            "size": cfg.INPUT.SIZE,
            "tokenizer": tokenizer,
            "role_parser": parser,
        }

    def prepare_image(self, pixels: np.ndarray) -> Tensor:
        """
        Args:
            pixels: (height, width, 3) uint8, in the network's channel order.

        Returns:
            (3, H, W) float32 in [0, 255], see ``resize_image``; the aspect ratio is not kept.
        """
        return resize_image(pixels, self.size).float()

    def prepare_mask(self, mask: np.ndarray) -> np.ndarray:
        """Resize a mask (height, width) uint8 to the network's size, see ``resize_mask``."""
        return resize_mask(mask, self.size)

    def prepare_expression(self, expression: str) -> dict[str, Any]:
        """The expression's fields of a ModelInput.

        Raises:
            ValueError: the expression is empty.
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
