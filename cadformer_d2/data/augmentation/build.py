"""From the lines of INPUT.AUGMENTATIONS to Detectron2's augmentations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.utils.registry import Registry

AUGMENTATION_REGISTRY = Registry("AUGMENTATION")
AUGMENTATION_REGISTRY.__doc__ = """
Augmentations besides Detectron2's own. Called as ``cls(*arguments)`` with what follows the name in
INPUT.AUGMENTATIONS; returns a ``detectron2.data.transforms.Augmentation``, whose ``get_transform``
may take any attribute of an ``ExpressionAugInput`` as an argument of that name.

Randomness comes from ``np.random``, which is seeded for each sample. What a transform does to the
expression follows from its ``apply_coords``; augmentations need not handle expressions.
"""
# Abstract ones and containers.
_NOT_BY_NAME = ("Augmentation", "AugmentationList", "TransformGen")
_WRAPPER = "RandomApply"  # its first argument is an augmentation


def list_augmentations() -> dict[str, Callable[..., T.Augmentation]]:
    """Every augmentation that INPUT.AUGMENTATIONS may name: this project's and Detectron2's."""
    theirs = {
        name: value
        for name, value in vars(T).items()
        if inspect.isclass(value) and issubclass(value, T.Augmentation) and name not in _NOT_BY_NAME
    }
    return dict(sorted((theirs | dict(AUGMENTATION_REGISTRY)).items()))


def build_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The training augmentations in the order in which they are applied.

    INPUT.RANDOM_ERASE_BOXES and INPUT.ORIENTATIONS come first, then INPUT.AUGMENTATIONS.

    Raises:
        ValueError: an unknown name, or arguments that the augmentation does not accept.
    """
    lines: list[tuple[Any, ...]] = []
    if cfg.INPUT.RANDOM_ERASE_BOXES[1]:
        lines.append(("ReleasedBoxes", *cfg.INPUT.RANDOM_ERASE_BOXES))
    if cfg.INPUT.ORIENTATIONS:
        lines.append(("RandomOrientation", cfg.INPUT.ORIENTATIONS))
    own = [
        _build(line, place=f"INPUT.AUGMENTATIONS[{number}]")
        for number, line in enumerate(cfg.INPUT.AUGMENTATIONS)
    ]
    return [_build(line, place="INPUT") for line in lines] + own


def _build(line: Any, *, place: str) -> T.Augmentation:
    """One augmentation.

    Args:
        line: [name, argument, ...]; a mapping at the end holds arguments by keyword.
        place: of the line, for messages.
    """
    if not isinstance(line, (list, tuple)) or not line or not isinstance(line[0], str):
        raise ValueError(f"{place} is {line!r}; expected [name, argument, ...]")
    name: str = line[0]
    arguments: list[Any] = list(line[1:])
    known = list_augmentations()
    if name not in known:
        raise ValueError(f"{place} is {name!r}; known names: {', '.join(known)}")
    keywords = dict(arguments.pop()) if arguments and isinstance(arguments[-1], dict) else {}
    if name == _WRAPPER and arguments:
        arguments[0] = _build(arguments[0], place=f"{place}, {name}")
    try:
        return known[name](*arguments, **keywords)
    except (TypeError, ValueError, AssertionError) as error:
        takes = inspect.signature(known[name])
        raise ValueError(f"{place}, {name}: {error}; it takes {takes}") from error
