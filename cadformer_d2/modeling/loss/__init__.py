"""Training losses, from logits and the target's mask."""

from .build import LOSS_REGISTRY, build_loss
from .cross_entropy_dice import CrossEntropyDice

__all__ = ["LOSS_REGISTRY", "CrossEntropyDice", "build_loss"]
