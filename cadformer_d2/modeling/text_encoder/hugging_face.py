"""Any text encoder of the transformers library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...structures import TextFeatures
from ..alignment import alignment_reads_roles
from .architecture import (
    architecture_json,
    build_network,
    get_layers,
    keep_first_layers,
    load_network,
    max_num_tokens,
    read_architecture,
    remove_unused_parts,
)
from .build import TEXT_ENCODER_REGISTRY

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ROLES = ("is_object", "is_position")  # fields of a sample, by the role of words
WHOLE = "all"  # in FROZEN: every part


@TEXT_ENCODER_REGISTRY.register()
class HuggingFaceTextEncoder(nn.Module):
    """The last hidden state of BERT, RoBERTa, CLIP's text tower, ..., without what follows it.

    Its sizes come from its config.json; the size keys of MODEL.TEXT_ENCODER are not read.
    """

    parts: ClassVar[Mapping[str, str]] = {"": "text"}

    @configurable
    def __init__(
        self,
        *,
        config: PretrainedConfig,
        num_layers: int = -1,
        weights: str = "",
        frozen: tuple[str, ...] = (),
        reads_roles: bool = False,
        max_tokens: int = 0,
    ):
        """
        Args:
            config: the architecture and its sizes.
            num_layers: layers that run, from the first; -1: all; 0: the embeddings alone.
            weights: location of pre-trained weights; "" starts at random.
            frozen: parts that do not train, such as "embeddings" or "encoder.layer.11"; "all":
                nothing trains, dropout is off, and no activation is kept for a backward pass.
            reads_roles: whether to encode the expression again with the words of each role alone.
            max_tokens: length of the longest expression.

        Raises:
            FileNotFoundError: ``weights`` is not on this machine.
            ValueError: the weights belong to another network, a part to freeze does not exist, or
                ``max_tokens`` exceeds what the network accepts.
        """
        super().__init__()
        self.reads = ("input_ids", "attention_mask", *(ROLES if reads_roles else ()))
        self.is_frozen = WHOLE in frozen
        keep_first_layers(config, num_layers)
        network = load_network(weights, config) if weights else build_network(config)
        remove_unused_parts(network)
        # Named as in published files ("bert", "roberta", ...), so that weights keep their names.
        self.network_name = network.base_model_prefix
        self.add_module(self.network_name, network)
        _freeze(network, frozen)
        _refuse_long_expressions(network, max_tokens)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            "config": cls._architecture(cfg),
            "num_layers": cfg.MODEL.TEXT_ENCODER.NUM_LAYERS,
            "weights": cfg.MODEL.TEXT_ENCODER.WEIGHTS,
            "frozen": cfg.MODEL.TEXT_ENCODER.FROZEN,
            "reads_roles": alignment_reads_roles(cfg),
            "max_tokens": cfg.INPUT.MAX_TOKENS,
        }

    @classmethod
    def output_shape(cls, cfg: CfgNode) -> ShapeSpec:
        return ShapeSpec(channels=cls._architecture(cfg).hidden_size)

    @classmethod
    def vocabulary_size(cls, cfg: CfgNode) -> int:
        return cls._architecture(cfg).vocab_size

    @classmethod
    def _architecture(cls, cfg: CfgNode) -> PretrainedConfig:
        """
        Raises:
            ValueError: neither WEIGHTS nor CONFIG is set.
        """
        text = cfg.MODEL.TEXT_ENCODER
        for key in ("CONFIG", "WEIGHTS"):
            if text[key]:
                return read_architecture(text[key], key=f"MODEL.TEXT_ENCODER.{key}")
        raise ValueError(
            f"MODEL.TEXT_ENCODER.NAME {text.NAME} needs MODEL.TEXT_ENCODER.WEIGHTS, a published "
            "encoder, or MODEL.TEXT_ENCODER.CONFIG, an architecture that starts at random"
        )

    @property
    def network(self) -> PreTrainedModel:
        return getattr(self, self.network_name)

    @property
    def carried_values(self) -> dict[str, str]:
        """Config values with which a checkpoint rebuilds this encoder without any other file."""
        return {"MODEL.TEXT_ENCODER.CONFIG": architecture_json(self.network.config)}

    def recomputed_modules(self) -> list[nn.Module]:
        """The network's layers, for MODEL.CHECKPOINT_ACTIVATIONS; none where it is frozen."""
        return [] if self.is_frozen else get_layers(self.network)

    def train(self, mode: bool = True) -> HuggingFaceTextEncoder:
        """As nn.Module's; a frozen encoder stays in evaluation mode."""
        return super().train(mode and not self.is_frozen)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *roles: Tensor) -> TextFeatures:
        """
        Args:
            input_ids: (B, T) int64 in [0, vocab_size); anything on padding.
            attention_mask: (B, T), 1 on real tokens, 0 on padding.
            roles: none, or (B, T) bool for the words of the object and for those of the place. The
                expression is then encoded twice more, with these words alone.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            return self.encode(input_ids, attention_mask, roles)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor, roles: tuple[Tensor, ...]
    ) -> TextFeatures:
        """As ``forward``."""
        is_token = attention_mask.bool()
        pad_id = self.network.config.pad_token_id
        if pad_id is not None:  # some networks count positions by it
            input_ids = input_ids.masked_fill(~is_token, pad_id)
        readings = [
            TextFeatures(tokens=self.read(input_ids, mask, is_token), is_token=mask)
            for mask in (is_token, *roles)
        ]
        if not roles:
            return readings[0]
        whole, object_words, position_words = readings
        return replace(whole, object_words=object_words, position_words=position_words)

    def read(self, input_ids: Tensor, mask: Tensor, is_token: Tensor) -> Tensor:
        """The last hidden states (B, T, C) with attention to the tokens of a mask.

        An expression without any such token is encoded whole: the result is not used.
        """
        # Not torch.where, which onnxruntime lacks for booleans.
        visible = mask | (is_token & ~mask.any(dim=1, keepdim=True))
        mask = self.network_mask(visible)
        return self.network(input_ids=input_ids, attention_mask=mask).last_hidden_state

    def network_mask(self, visible: Tensor) -> Tensor:
        """The network's own form of a mask (B, T) over the tokens it may attend to."""
        return visible.long()


def _freeze(network: PreTrainedModel, parts: tuple[str, ...]) -> None:
    """Exclude the named parts from training.

    Raises:
        ValueError: there is no such part.
    """
    known = dict(network.named_modules())
    for part in parts:
        if part == WHOLE:
            network.requires_grad_(False)
        elif not part or part not in known:
            raise ValueError(
                f"MODEL.TEXT_ENCODER.FROZEN has {part!r}; known are {WHOLE!r} and parts such as "
                f"{_parts_to_freeze(network)}"
            )
        else:
            known[part].requires_grad_(False)


def _parts_to_freeze(network: PreTrainedModel) -> str:
    layers = get_layers(network)
    ends = [name for name, part in network.named_modules() if part in (layers[:1] + layers[-1:])]
    return ", ".join(map(repr, [*(name for name, _ in network.named_children()), *ends]))


def _refuse_long_expressions(network: nn.Module, max_tokens: int) -> None:
    """Raise ValueError if expressions may be longer than the network accepts."""
    most = max_num_tokens(network)
    if most is not None and max_tokens > most:
        raise ValueError(
            f"INPUT.MAX_TOKENS is {max_tokens}, but the text encoder has {most} positions; lower it"
        )
