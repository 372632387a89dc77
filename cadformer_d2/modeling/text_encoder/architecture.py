"""Networks of the transformers library: described by their config.json, built, loaded.

A downloaded folder is data: its code does not run, its weights are read without unpickling code,
and nothing that it names is fetched.

The functions import the library themselves: it takes seconds, and models with another text encoder
do not need it.
"""

from __future__ import annotations

import inspect
import json
import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...library_errors import first_line
from ...model_folder import find_model_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

JSON_PREFIX = "json:"  # before a config.json written out in the config
CONFIG_FILE = "config.json"
POOLERS = ("pooler", "head")  # parts after the last hidden state, in transformers' names
# Keys of a config.json about code, kernels and dtypes; only its sizes count here.
IGNORED = frozenset(
    """
    auto_map attn_implementation _attn_implementation _attn_implementation_internal dtype
    torch_dtype quantization_config use_kernels _name_or_path architectures transformers_version
    """.split()
)


def read_architecture(reference: str, *, key: str) -> PretrainedConfig:
    """The text part of an architecture.

    Args:
        reference: a folder with a config.json, "package:NAME/folder", a Hugging Face name in the
            local cache, or "json:" and the content of a config.json.
        key: the config key that the reference comes from, for messages.

    Raises:
        FileNotFoundError: it is not on this machine.
        ValueError: not the description of a network that the transformers library has.
    """
    from transformers import AutoConfig

    if reference.startswith(JSON_PREFIX):
        source, text = key, reference.removeprefix(JSON_PREFIX)
    else:
        path = find_model_folder(reference, files=(CONFIG_FILE,), key=key) / CONFIG_FILE
        source, text = str(path), path.read_text(encoding="utf-8", errors="replace")
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
            raise ValueError("it has no model_type")
        config = AutoConfig.for_model(**_plain(values))
    except Exception as error:  # the library may raise anything on an arbitrary file
        raise ValueError(
            f"{source}: not the config.json of a network in transformers ({first_line(error)})"
        ) from error
    return config.get_text_config()  # of CLIP and its like, the text tower's


def architecture_json(config: PretrainedConfig) -> str:
    """A reference that ``read_architecture`` understands on any machine."""
    return JSON_PREFIX + json.dumps(
        _plain(config.to_diff_dict() | {"model_type": config.model_type})
    )


def keep_first_layers(config: PretrainedConfig, num_layers: int) -> None:
    """Keep only the first layers of an architecture, in place.

    Args:
        num_layers: -1: all; 0: the embeddings, with the network's final norm if it has one.

    Raises:
        ValueError: it has fewer layers, or does not state their number.
    """
    if num_layers == -1:
        return
    published = getattr(config, "num_hidden_layers", None)
    if not isinstance(published, int):
        raise ValueError(
            f"MODEL.TEXT_ENCODER.NUM_LAYERS is {num_layers}, but the {config.model_type} does not "
            "state its number of layers; set it to -1"
        )
    if num_layers > published:
        raise ValueError(
            f"MODEL.TEXT_ENCODER.NUM_LAYERS asks for {num_layers} layers, the {config.model_type} "
            f"has {published}"
        )
    config.num_hidden_layers = num_layers
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = config.layer_types[:num_layers]


def build_network(config: PretrainedConfig) -> PreTrainedModel:
    """A network with random weights.

    Raises:
        ValueError: transformers has no such text encoder, or its sizes are inconsistent.
    """
    network_class = _network_class(config)
    try:
        return network_class(config, **_without_pooler(network_class))
    except Exception as error:
        raise ValueError(
            f"a {config.model_type} cannot be built as described, with "
            f"{getattr(config, 'num_hidden_layers', 'its')} layers ({first_line(error)})"
        ) from error


def load_network(reference: str, config: PretrainedConfig) -> PreTrainedModel:
    """A network with published weights, from this machine.

    Args:
        reference: as ``read_architecture``, without "json:".
        config: the sizes to build; it may have fewer layers than the file.

    Raises:
        FileNotFoundError: the weights are not on this machine.
        ValueError: damaged, of other sizes, or holding no weight of this network.
    """
    key = "MODEL.TEXT_ENCODER.WEIGHTS"
    folder = find_model_folder(reference, files=(CONFIG_FILE,), key=key)
    network_class = _network_class(config)
    try:
        network, report = network_class.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            **_without_pooler(network_class),
        )
    except OSError as error:
        raise FileNotFoundError(
            f"{folder}, which {key} names, holds no usable weights ({first_line(error)}); put "
            "model.safetensors there"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{folder}: its weights do not fit a {config.model_type} of the configured size "
            f"({first_line(error)})"
        ) from error
    num_tensors, missing = len(network.state_dict()), sorted(report["missing_keys"])
    if len(missing) >= num_tensors:
        raise ValueError(
            f"{folder}: no tensor of this file is a {config.model_type}'s, for example "
            f"{missing[:3]}"
        )
    logger.info(
        "%s from %s: loaded %d of %d tensors; missing: %s; not used: %s",
        config.model_type,
        folder,
        num_tensors - len(missing),
        num_tensors,
        missing or "none",
        sorted(report["unexpected_keys"]) or "none",
    )
    return network


def remove_unused_parts(network: PreTrainedModel) -> None:
    """Remove, in place, parts that do not affect the last hidden state: they would never train.

    Removes poolers and heads, and freezes other unused parameters.

    Raises:
        ValueError: the network does not map tokens to a last hidden state.
    """
    read = _parameters_behind(_last_hidden_state(network))
    for name in POOLERS:
        part = getattr(network, name, None)
        if part is not None and not any(parameter in read for parameter in part.parameters()):
            setattr(network, name, nn.Identity())
    for parameter in network.parameters():
        parameter.requires_grad_(parameter in read)


def get_layers(network: PreTrainedModel) -> list[nn.Module]:
    """The layers of a network, first to last: the outermost list of that length."""
    number = getattr(network.config, "num_hidden_layers", 0)
    for part in network.modules():
        if isinstance(part, nn.ModuleList) and len(part) == number > 0:
            return list(part)
    return []


def max_num_tokens(network: nn.Module) -> int | None:
    """Longest input that a network's position table allows; None without a table."""
    for name, table in network.named_modules():
        is_positions = name.rpartition(".")[2] in ("position_embeddings", "position_embedding")
        if is_positions and isinstance(table, nn.Embedding):
            # As in RoBERTa: positions are counted from padding_idx + 1.
            offset = 0 if table.padding_idx is None else table.padding_idx + 1
            return table.num_embeddings - offset
    return None


def _last_hidden_state(network: PreTrainedModel) -> Tensor:
    input_ids = torch.zeros(1, 3, dtype=torch.int64)
    was_training = network.training
    try:
        output = network.eval()(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        state = output.last_hidden_state
        if state.shape[:2] != input_ids.shape:
            raise ValueError(f"it gives {tuple(state.shape)} for {tuple(input_ids.shape)} tokens")
    except Exception as error:
        raise ValueError(
            f"a {network.config.model_type} does not serve as text encoder ({first_line(error)})"
        ) from error
    finally:
        network.train(was_training)
    return state


def _parameters_behind(output: Tensor) -> set[Tensor]:
    """Parameters that a gradient of the output reaches."""
    seen, found, waiting = set(), set(), [output.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            found.add(function.variable)
        waiting.extend(following for following, _ in function.next_functions)
    return found


def _network_class(config: PretrainedConfig) -> Any:
    """AutoModel's class, or for text towers that it lacks, the class named like the config."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    name = type(config).__name__.removesuffix("Config") + "Model"
    network_class = MODEL_MAPPING.get(type(config), None) or getattr(transformers, name, None)
    if network_class is None or isinstance(network_class, tuple):
        raise ValueError(f"transformers has no single text encoder for a {config.model_type}")
    return network_class


def _without_pooler(network_class: type) -> dict[str, bool]:
    has_choice = "add_pooling_layer" in inspect.signature(network_class).parameters
    return {"add_pooling_layer": False} if has_choice else {}


def _plain(values: Any) -> Any:
    """The values of a config.json without IGNORED keys, at any depth."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items() if key not in IGNORED}
    return values
