"""timm's networks as sequential stages.

The functions import timm themselves: it takes 0.2 s.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...unset_model import has_run_before
from .text_aware import round_up_size

KEY = "MODEL.TIMM.NAME"
RUNS_HERE = (
    "convnext_tiny, resnet50, tf_efficientnet_lite2, mobilenetv3_large_100, regnety_016, "
    "swinv2_tiny_window8_256"
)
# Options for the size of a network with a fixed input size; the first that it accepts wins.
SIZE_OPTIONS: tuple[Callable[[tuple[int, int]], dict[str, Any]], ...] = (
    lambda size: {"img_size": size, "strict_img_size": False},
    lambda size: {"img_size": size},
)


@dataclass(frozen=True)
class TimmNetwork:
    """A timm network, split where its levels end."""

    name: str
    options: Mapping[str, Any]  # of timm.create_model
    stages: nn.ModuleList  # of nn.Sequential, one per level
    shapes: tuple[ShapeSpec, ...]  # of the levels
    is_channels_last: bool  # whether maps are (B, h, w, C) inside
    fixed_size: tuple[int, int] | None  # the only (height, width) it accepts; None: any
    published: Mapping[str, str]  # names of tensors in ``stages`` -> the names timm publishes


def build_timm_network(
    *, name: str, strides: Sequence[int], input_size: tuple[int, int], drop_path_rate: float
) -> TimmNetwork:
    """Build the timm network of a name up to its last level, with random weights.

    Args:
        name: as in ``timm.list_models()``; a tag after a dot selects the record of its weights.
        strides: of the levels that become stages, finest first.
        input_size: (height, width) in pixels, for networks that are built for one size.
        drop_path_rate: stochastic depth, in [0, 1).

    Raises:
        ValueError: no such network, or one that is not sequential, or lacks these levels or
            stochastic depth.
    """
    size = round_up_size(input_size, strides[-1])
    with torch.device("meta"):  # only sizes: no memory, no random numbers
        usual, options, fixed_size = _usual_network(name, size, drop_path_rate)
        levels, wrapping = _levels(name, strides, usual)
        if not has_run_before.get():
            probe = _build_sequential(name, levels, {**options, **wrapping})
            _refuse_other_maps(name, probe, strides, size)
    network = _build_sequential(name, levels, {**options, **wrapping})
    if drop_path_rate > 0 and not _has_drop_path(network):
        raise ValueError(f"MODEL.TIMM.DROP_PATH_RATE is {drop_path_rate}, but {name} has none")
    return TimmNetwork(
        name=name,
        options=options,
        stages=_split_at_levels(network),
        shapes=tuple(
            ShapeSpec(channels=channels, stride=stride)
            for channels, stride in zip(network.feature_info.channels(), strides, strict=True)
        ),
        is_channels_last=network.output_fmt.value == "NHWC",
        fixed_size=fixed_size,
        published=_published_names(network),
    )


def pretrained_record(name: str) -> Mapping[str, Any]:
    """timm's record of a network's published weights, such as their "mean" and "std"."""
    from timm.models import get_pretrained_cfg

    _refuse_unknown(name)
    record = get_pretrained_cfg(name)
    return {} if record is None else record.to_dict()


def apply_timm_filter(
    network: TimmNetwork, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], set[str]]:
    """Rename weights to timm's current names; returns them and the names of the whole network.

    timm has a filter per network for what its authors published.
    """
    import timm

    with torch.device("meta"):  # only names and sizes
        whole = timm.create_model(network.name, **network.options)
    rename = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    renamed = dict(state)
    if rename is not None:
        try:
            renamed = rename(renamed, whole)
        except (KeyError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            pass  # not what the filter expects: the names decide
    return renamed, set(whole.state_dict())


def _refuse_unknown(name: str) -> None:
    import timm

    if not name:
        raise ValueError(
            f"{KEY} is empty; MODEL.BACKBONE.NAME TextAwareTimm needs the name of a network"
        )
    # Names with a colon or a slash are locations to load from.
    if not re.fullmatch(r"[\w.-]+", name) or not timm.is_model(name.partition(".")[0]):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=5)
        raise ValueError(f"{KEY} is {name!r}; similar names: {', '.join(close) or RUNS_HERE}")


def _usual_network(
    name: str, size: tuple[int, int], drop_path_rate: float
) -> tuple[Any, dict[str, Any], tuple[int, int] | None]:
    """Create timm's network with its levels; returns it, its options and its only size, if any.

    Raises:
        ValueError: no such network, one without levels, or one without stochastic depth.
    """
    record = pretrained_record(name)
    depth = {"drop_path_rate": drop_path_rate} if drop_path_rate > 0 else {}
    if record.get("fixed_input_size"):
        for sized in SIZE_OPTIONS:
            options = depth | sized(size)
            if (usual := _with_levels(name, options)) is not None:
                return usual, options, None if "strict_img_size" in options else size
    if (usual := _with_levels(name, depth)) is None:
        raise ValueError(f"MODEL.TIMM.DROP_PATH_RATE is {drop_path_rate}, but {name} has none")
    height, width = record["input_size"][1:]
    return usual, depth, (height, width) if record.get("fixed_input_size") else None


def _with_levels(name: str, options: dict[str, Any]) -> Any:
    """Create timm's network with its levels; None if it does not accept an option."""
    import timm

    try:
        return timm.create_model(name, features_only=True, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        return None
    except (RuntimeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{KEY} {name}: timm cannot extract its levels ({error})") from error


def _levels(
    name: str, strides: Sequence[int], usual: Any
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Find the levels' indices in timm's list, and the options that make the network sequential."""
    from timm.models import FeatureDictNet
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

    if isinstance(usual, (EfficientNetFeatures, MobileNetV3Features)):
        wrapping = {"feature_cfg": {"flatten_sequential": True}}
    elif isinstance(usual, FeatureDictNet) and not usual.concat:
        wrapping = {}
    else:
        raise ValueError(
            f"{KEY} {name}: the text enters where a level of the network ends, but this network "
            f"is not sequential ({type(usual).__name__} of timm). Networks that work are, for "
            f"example, {RUNS_HERE}"
        )
    reductions = [level["reduction"] for level in usual.feature_info.info]
    missing = [stride for stride in strides if stride not in reductions]
    if missing:
        raise ValueError(
            f"MODEL.TIMM.STRIDES is {tuple(strides)}, but the levels of {name} have the strides "
            f"{', '.join(map(str, sorted(set(reductions))))}"
        )
    last = {reduction: place for place, reduction in enumerate(reductions)}
    return tuple(last[stride] for stride in strides), wrapping


def _build_sequential(name: str, levels: tuple[int, ...], options: dict[str, Any]) -> Any:
    """Create timm's network as a sequence, with ``published``: its tensors' original names."""
    import timm
    from timm.models import FeatureDictNet

    class Row(FeatureDictNet):
        def __init__(self, model: nn.Module, **row: Any):
            names = {id(value): key for key, value in model.state_dict(keep_vars=True).items()}
            super().__init__(model, **row)
            own = self.state_dict(keep_vars=True).items()
            self.published = {key: names[id(value)] for key, value in own}

    return timm.create_model(
        name, features_only=True, feature_cls=Row, out_indices=levels, **options
    )


def _refuse_other_maps(
    name: str, network: Any, strides: Sequence[int], size: tuple[int, int]
) -> None:
    """Raise ValueError if a level is not a map with the cell size of its stride."""
    try:
        maps = list(network.eval()(torch.empty(1, 3, *size)).values())
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"{KEY} {name} cannot run on an input of {size}: {error}") from error
    is_channels_last = network.output_fmt.value == "NHWC"
    for stride, channels, map_ in zip(strides, network.feature_info.channels(), maps, strict=True):
        cells = (size[0] // stride, size[1] // stride)
        expected = (*cells, channels) if is_channels_last else (channels, *cells)
        got = tuple(map_.shape[1:]) if isinstance(map_, Tensor) else f"a {type(map_).__name__}"
        if got != expected:
            raise ValueError(
                f"{KEY} {name}: its level of stride {stride} is {got} for an input of {size}, "
                f"expected {expected}, so the text cannot enter there. Networks that work are, for "
                f"example, {RUNS_HERE}"
            )


def _split_at_levels(network: Any) -> nn.ModuleList:
    """Split the sequence of modules after each level."""
    stages, stage = [], nn.Sequential()
    for name, module in network.items():
        stage.add_module(name, module)
        if name in network.return_layers:
            stages.append(stage)
            stage = nn.Sequential()
    return nn.ModuleList(stages)


def _published_names(network: Any) -> dict[str, str]:
    stage_of, stage = {}, 0
    for name in network:
        stage_of[name] = stage
        stage += name in network.return_layers
    return {
        f"{stage_of[key.partition('.')[0]]}.{key}": published
        for key, published in network.published.items()
    }


def _has_drop_path(network: nn.Module) -> bool:
    return any(getattr(module, "drop_prob", 0) for module in network.modules())
