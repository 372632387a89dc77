"""Weights of Microsoft's Swin releases under the names of TextAwareSwin."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from .weights import FittedWeights

# What a release has besides the backbone: a classifier, and tables that are computed here.
NOT_NEEDED = re.compile(r"(norm|head)\..*|.*\.(attn_mask|relative_position_index)")
PARTS = ("patch_embed.", "stages.", "merges.")
SECOND_VERSION = ("attn.logit_scale", "attn.cpb_mlp")  # parts that V1 does not have


def is_swin_release(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names of Microsoft's Swin releases."""
    return any(name.startswith("layers.0.blocks.") for name in state)


def fit_swin_release(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> FittedWeights:
    """Rename a release's weights to TextAwareSwin's names; resize position tables to its windows.

    Args:
        state: of the release.
        wanted: the backbone's state.

    Raises:
        ValueError: a release of Swin V2, or of another Swin than the backbone.
    """
    if any(part in name for name in state for part in SECOND_VERSION):
        raise ValueError(
            "it is a release of Swin V2, but the backbone is Swin V1; use a file such as "
            "swin_base_patch4_window12_384_22k.pth"
        )
    renamed, dropped = rename_swin_weights(state)
    needed = {name for name in wanted if name.startswith(PARTS) and not NOT_NEEDED.fullmatch(name)}
    lacking = sorted(needed - set(renamed))
    useless = sorted(set(renamed) - needed)
    useless += [name for name in dropped if not NOT_NEEDED.fullmatch(name)]
    if lacking or useless:
        raise ValueError(
            f"it is a release of another Swin than MODEL.SWIN describes: {len(lacking)} tensors of "
            f"the backbone are missing (such as {', '.join(lacking[:1]) or 'none'}) and "
            f"{len(useless)} have no place (such as {', '.join(useless[:1]) or 'none'})"
        )
    return FittedWeights(_fit_position_tables(renamed, wanted), not_used=tuple(dropped))


def rename_swin_weights(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename tensors from Microsoft's Swin releases to TextAwareSwin.

    Returns:
        the renamed weights, and the names that have no counterpart: the classifier, its norm, and
        index tables that are computed.
    """
    renamed, dropped = {}, []
    for name, weight in state.items():
        if name.startswith("patch_embed."):
            renamed[name] = weight
        elif ".blocks." in name and not name.endswith(("attn_mask", "relative_position_index")):
            renamed[f"stages.{name.removeprefix('layers.')}"] = weight
        elif ".downsample." in name:
            stage, _, rest = name.removeprefix("layers.").partition(".downsample.")
            renamed[f"merges.{stage}.{rest}"] = weight
        else:
            dropped.append(name)
    return renamed, dropped


def _fit_position_tables(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Resize relative position tables to the model's window if the file's differs."""
    fitted = dict(state)
    for name, weight in state.items():
        if name.endswith("relative_position_bias_table") and name in wanted:
            fitted[name] = resize_position_table(weight, wanted[name].shape[0])
    return fitted


def resize_position_table(table: Tensor, length: int) -> Tensor:
    """Resize relative position biases to another window size by bicubic interpolation.

    Args:
        table: ((2 M - 1)^2, heads) for windows of M x M.
        length: (2 M' - 1)^2.
    """
    if table.shape[0] == length:
        return table
    side, new_side = round(table.shape[0] ** 0.5), round(length**0.5)
    grid = table.T.reshape(1, -1, side, side)
    resized = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False)
    return resized.reshape(-1, length).T.contiguous()
