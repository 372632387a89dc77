"""Pre-trained weights of a backbone: find them and load what fits."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ...checkpoint_file import abbreviate, read_checkpoint, refuse_non_finite
from ...model_folder import find_cached_file
from ...package_files import find_package_file, is_package_reference

logger = logging.getLogger(__name__)

KEY = "MODEL.BACKBONE.WEIGHTS"
HUB_NAME = re.compile(r"(hf-hub:)?(?P<repository>[\w.-]+/[\w.-]+)")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class FittedWeights:
    """Published weights, renamed for a backbone."""

    state: Mapping[str, Tensor]  # under the backbone's names
    not_used: tuple[str, ...]  # published names of tensors that the backbone does not have


@dataclass(frozen=True)
class WeightsRecord:
    """Pixel statistics and input size of pre-trained weights."""

    mean: tuple[float, ...]  # of R, G, B in [0, 255]
    std: tuple[float, ...]
    input_size: tuple[int, int] | None = None  # (height, width), pixels


class LoadsWeights(Protocol):
    """The part of a backbone that is needed here."""

    def fit_weights(self, state: Mapping[str, Tensor]) -> FittedWeights | None: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...
    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool) -> object: ...


def load_backbone_weights(backbone: LoadsWeights, reference: str) -> None:
    """Load pre-trained weights into a backbone's network, and log what is used.

    Args:
        reference: a file of torch or safetensors, "package:NAME/path", or a Hugging Face name
            whose files are in the cache.

    Raises:
        FileNotFoundError: the weights are not on this machine.
        ValueError: damaged, of another network, or not finite.
    """
    path = _find_weights(reference)
    state = read_checkpoint(path)["model"]
    try:
        fitted = backbone.fit_weights(state)
        if fitted is None:
            raise ValueError(
                f"none of its {len(state)} tensors belongs to the backbone; it has, for example, "
                f"{abbreviate(sorted(state))}"
            )
        _refuse_other_shapes(fitted.state, backbone.state_dict())
        refuse_non_finite(fitted.state)
    except ValueError as error:
        raise ValueError(f"{KEY} {reference!r} ({path}) cannot be used: {error}") from error
    backbone.load_state_dict(fitted.state, strict=False)
    logger.info(
        "backbone from %s: loaded %d of its %d tensors; not used: %s",
        path,
        len(fitted.state),
        len(fitted.state) + len(fitted.not_used),
        abbreviate(fitted.not_used),
    )


def _find_weights(reference: str) -> Path:
    """Find the file of a reference, without downloading.

    Raises:
        FileNotFoundError: it is not on this machine; the message says how to get it.
    """
    if is_package_reference(reference):
        return find_package_file(reference)
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    match = HUB_NAME.fullmatch(reference)
    if match is None or path.suffix in (".pth", ".safetensors", ".bin", ".pt"):
        raise FileNotFoundError(f"{KEY} is {reference!r}, but there is no such file")
    return _find_cached_weights(match["repository"])


def read_hub_record(reference: str) -> dict[str, Any]:
    """Read the training record in the config.json beside cached weights; {} without one.

    Args:
        reference: as MODEL.BACKBONE.WEIGHTS.
    """
    match = HUB_NAME.fullmatch(reference)
    found = find_cached_file(match["repository"], "config.json") if match else None
    if found is None:
        return {}
    record = json.loads(found.read_text(encoding="utf-8")).get("pretrained_cfg", {})
    return {key: record[key] for key in ("mean", "std", "input_size") if key in record}


def _refuse_other_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a tensor's shape differs from the backbone's."""
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{name} has the shape {tuple(tensor.shape)}, the backbone's has "
                f"{tuple(wanted[name].shape)}"
            )


def _find_cached_weights(repository: str) -> Path:
    for name in HUB_FILES:
        if (found := find_cached_file(repository, name)) is not None:
            return found
    raise FileNotFoundError(
        f"{KEY} is {repository!r}, which is neither a file nor in the Hugging Face cache. If it is "
        f"published there, 'hf download {repository}' fetches it once; nothing is downloaded at "
        "run time"
    )
