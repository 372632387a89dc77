"""The paper's training loss: class-weighted cross-entropy and Dice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from .build import LOSS_REGISTRY

DICE_SMOOTHING = 1e-6


def _dice_loss(logits: Tensor, target: Tensor, *, reduction: str) -> Tensor:
    """1 - (2 sum p t + s) / (sum p + sum t + s) per sample and class, summed over the classes.

    The sum is over the classes that have a pixel, so a sample without a target has the background's
    term alone, P / (2 N - P) with P = sum p of the target over N pixels: 0 for an empty answer, 1
    for one that fills the image. The target's term would be 1 - s / (P + s). With s = 1e-6 that is
    1 whatever the answer, but for answers that are empty already, where its slope is 1 / s.

    Args:
        logits: (B, 2, H, W) background, target.
        target: (B, H, W) bool, True on the target.
        reduction: over the batch, "mean" or "sum" (the latter as in the authors' released code,
            where the size of the term grows with the batch of each process).

    Returns:
        scalar in [0, 2] for "mean", in [0, 2 B] for "sum".
    """
    probability = logits.softmax(dim=1).flatten(2)  # (B, 2, H * W)
    truth = torch.stack([~target, target], dim=1).flatten(2).to(probability.dtype)
    overlap = (probability * truth).sum(-1)
    total = probability.sum(-1) + truth.sum(-1)
    terms = 1 - (2 * overlap + DICE_SMOOTHING) / (total + DICE_SMOOTHING)  # (B, 2)
    per_sample = (terms * truth.any(-1)).sum(1)
    return per_sample.mean() if reduction == "mean" else per_sample.sum()


@LOSS_REGISTRY.register()
class CrossEntropyDice(nn.Module):
    """loss = ce_weight * CE + dice_weight * Dice (0.9 and 0.1 in the paper).

    A target may be empty. Its pixels are background, which the class weights treat as they treat
    any: CE divides by the sum of the weights, so that in a batch of empty targets alone they cancel
    out and it is the plain mean of -log p_background. Dice leaves the class without a pixel out
    (``_dice_loss``).
    """

    parts: ClassVar[Mapping[str, str]] = {"": "loss"}
    class_weights: Tensor

    @configurable
    def __init__(
        self,
        *,
        ce_weight: float,
        dice_weight: float,
        class_weights: tuple[float, float],
        dice_reduction: str,
    ):
        """
        Args:
            ce_weight, dice_weight: of the two terms.
            class_weights: of background and target pixels in the cross-entropy, whose mean is
                weighted: sum of w_y (-log p_y) over sum of w_y, over all pixels of the batch.
            dice_reduction: "mean" or "sum" over the batch.

        Raises:
            ValueError: another reduction.
        """
        super().__init__()
        if dice_reduction not in ("mean", "sum"):
            raise ValueError(f"MODEL.LOSS.DICE_REDUCTION is {dice_reduction!r}; known: mean, sum")
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.dice_reduction = dice_reduction
        weights = torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        loss = cfg.MODEL.LOSS
        return {
            "ce_weight": loss.CE_WEIGHT,
            "dice_weight": loss.DICE_WEIGHT,
            "class_weights": loss.CLASS_WEIGHTS,
            "dice_reduction": loss.DICE_REDUCTION,
        }

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """
        Args:
            logits: (B, 2, H, W), any float dtype; used in float32.
            target: (B, H, W) bool.

        Returns:
            {"loss_ce", "loss_dice"}, already weighted: the training loss is their sum.
        """
        logits = logits.float()
        cross_entropy = F.cross_entropy(logits, target.long(), weight=self.class_weights)
        dice = _dice_loss(logits, target, reduction=self.dice_reduction)
        return {"loss_ce": self.ce_weight * cross_entropy, "loss_dice": self.dice_weight * dice}
