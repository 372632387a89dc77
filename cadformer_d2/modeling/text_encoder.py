"""BERT as the text encoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from ..structures import TextFeatures
from .registry import component_class

logger = logging.getLogger(__name__)

BERT_BASE_LAYERS = 12
ROLES = ("is_object", "is_position")  # fields of a sample, by the role of words

TEXT_ENCODER_REGISTRY = Registry("TEXT_ENCODER")
TEXT_ENCODER_REGISTRY.__doc__ = """
Called as ``cls(cfg)``; an attribute ``reads`` names the fields of the samples that ``forward``
is given, padded to (B, T); it returns TextFeatures. A class method ``output_shape(cfg)`` says,
before the encoder is built, how many ``channels`` they have: every component that reads
text is handed it.
"""


def build_text_encoder(cfg: CfgNode) -> nn.Module:
    """The text encoder named by MODEL.TEXT_ENCODER.NAME."""
    name = cfg.MODEL.TEXT_ENCODER.NAME
    return component_class(TEXT_ENCODER_REGISTRY, name, key="MODEL.TEXT_ENCODER.NAME")(cfg)


def text_output_shape(cfg: CfgNode) -> ShapeSpec:
    """Channels C_l of what the configured text encoder gives.

    Asked of the class: the backbone is built, and draws its random weights, before the text encoder
    does, so a text encoder that had to exist first would change what every seed stands for.
    """
    name = cfg.MODEL.TEXT_ENCODER.NAME
    encoder = component_class(TEXT_ENCODER_REGISTRY, name, key="MODEL.TEXT_ENCODER.NAME")
    return encoder.output_shape(cfg)


@TEXT_ENCODER_REGISTRY.register()
class BertTextEncoder(nn.Module):
    """The last hidden state of BERT, or of its first layers, without the pooler."""

    parts: ClassVar[Mapping[str, str]] = {"": "text"}

    @configurable
    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        weights: str = "",
        frozen: tuple[str, ...] = (),
        reads_roles: bool = False,
    ):
        """
        Args:
            vocab_size: word pieces.
            hidden_size: C_l, channels of the text.
            num_layers: encoder layers; 0 leaves the embedding table (word, position and segment
                embeddings with their LayerNorm), as in the authors' released code.
            num_heads, ffn_dim, dropout: of each layer.
            weights: a Hugging Face name or a local folder; "" starts at random.
            frozen: parts of BERT that do not train, such as "embeddings" or "encoder.layer.11".
            reads_roles: whether the sentence is read again with the words of each role alone.

        Raises:
            FileNotFoundError: ``weights`` is not on this machine.
            ValueError: ``weights`` has other sizes, or holds no BERT; or a part to freeze does
                not exist.
        """
        super().__init__()
        self.reads = ("input_ids", "attention_mask", *(ROLES if reads_roles else ()))
        config = BertConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=ffn_dim,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.bert = (
            load_pretrained_bert(weights, config)
            if weights
            else BertModel(config, add_pooling_layer=False)
        )
        freeze(self.bert, frozen)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        text = cfg.MODEL.TEXT_ENCODER
        return {
            "vocab_size": text.VOCAB_SIZE,
            "hidden_size": text.HIDDEN_SIZE,
            "num_layers": BERT_BASE_LAYERS if text.NUM_LAYERS == -1 else text.NUM_LAYERS,
            "num_heads": text.NUM_HEADS,
            "ffn_dim": text.FFN_DIM,
            "dropout": text.DROPOUT,
            "weights": text.WEIGHTS,
            "frozen": text.FROZEN,
            "reads_roles": cfg.INPUT.TOKEN_ROLES,
        }

    @classmethod
    def output_shape(cls, cfg: CfgNode) -> ShapeSpec:
        return ShapeSpec(channels=cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *roles: Tensor) -> TextFeatures:
        """
        Args:
            input_ids: (B, T) int64 in [0, vocab_size).
            attention_mask: (B, T), 1 on real tokens, 0 on padding.
            roles: none, or (B, T) bool for the words of the object and for those of the place. The
                sentence is then read two times more, each time with these words alone.
        """
        readings = [
            TextFeatures(tokens=self.read(input_ids, mask, attention_mask), is_token=mask)
            for mask in (attention_mask.bool(), *roles)
        ]
        if not roles:
            return readings[0]
        whole, object_words, position_words = readings
        return replace(whole, object_words=object_words, position_words=position_words)

    def recomputed_modules(self) -> list[nn.Module]:
        """The encoder's layers, for MODEL.CHECKPOINT_ACTIVATIONS."""
        return list(self.bert.encoder.layer)

    def read(self, input_ids: Tensor, mask: Tensor, attention_mask: Tensor) -> Tensor:
        """BERT's last hidden states (B, T, C) with attention to the tokens of a mask.

        A sentence without any such token is read whole: nobody looks at the result.
        """
        visible = torch.where(mask.any(dim=1, keepdim=True), mask, attention_mask.bool())
        # As a mask over (query, key): of one over tokens BERT asks the host whether it is all ones.
        is_key = visible[:, None, None, :]
        return self.bert(input_ids=input_ids, attention_mask=is_key).last_hidden_state


def freeze(bert: BertModel, parts: tuple[str, ...]) -> None:
    """Keep the named parts as they are in training.

    Raises:
        ValueError: there is no such part.
    """
    known = dict(bert.named_modules())
    for part in parts:
        if not part or part not in known:
            raise ValueError(
                f"MODEL.TEXT_ENCODER.FROZEN has {part!r}; known are parts such as 'embeddings', "
                f"'encoder' and 'encoder.layer.0' to 'encoder.layer.{len(bert.encoder.layer) - 1}'"
            )
        known[part].requires_grad_(False)


def load_pretrained_bert(weights: str, config: BertConfig) -> BertModel:
    """Read a BERT from the local cache or folder, never from the network.

    Args:
        weights: a Hugging Face name or a folder with config.json and the weights.
        config: the sizes asked for; fewer layers than the file has is allowed.

    Raises:
        FileNotFoundError: the files are not on this machine.
        ValueError: sizes differ, or no weight of a BERT was found.
    """
    try:
        published = BertConfig.from_pretrained(weights, local_files_only=True)
    except OSError as error:
        raise FileNotFoundError(
            f"MODEL.TEXT_ENCODER.WEIGHTS is {weights!r}, but its config.json and weights are "
            "neither a local folder nor in the Hugging Face cache. They are published at "
            f"https://huggingface.co/{weights}: download that repository once (for example "
            f"'hf download {weights}') or put config.json, vocab.txt and model.safetensors into a "
            "folder and name the folder here."
        ) from error
    check_sizes(weights, published=published, wanted=config)
    bert, report = BertModel.from_pretrained(
        weights,
        config=config,
        add_pooling_layer=False,
        local_files_only=True,
        output_loading_info=True,
    )
    num_tensors, missing = len(bert.state_dict()), sorted(report["missing_keys"])
    if len(missing) >= num_tensors:
        raise ValueError(
            f"{weights}: no tensor of this file is a BERT's, for example {missing[:3]}"
        )
    logger.info(
        "BERT from %s: loaded %d of %d tensors; missing: %s; not used: %s",
        weights,
        num_tensors - len(missing),
        num_tensors,
        missing or "none",
        sorted(report["unexpected_keys"]) or "none",
    )
    return bert


def check_sizes(weights: str, *, published: BertConfig, wanted: BertConfig) -> None:
    """Raise ValueError, naming the config key, where the file's sizes are not those asked for."""
    keys = {
        "vocab_size": "VOCAB_SIZE",
        "hidden_size": "HIDDEN_SIZE",
        "num_attention_heads": "NUM_HEADS",
        "intermediate_size": "FFN_DIM",
    }
    wrong = [
        f"MODEL.TEXT_ENCODER.{key} is {getattr(wanted, name)}, "
        f"the file has {getattr(published, name)}"
        for name, key in keys.items()
        if getattr(wanted, name) != getattr(published, name)
    ]
    if wanted.num_hidden_layers > published.num_hidden_layers:
        wrong.append(
            f"MODEL.TEXT_ENCODER.NUM_LAYERS asks for {wanted.num_hidden_layers} layers, "
            f"the file has {published.num_hidden_layers}"
        )
    if wrong:
        raise ValueError(f"{weights} has other sizes than the config: {'; '.join(wrong)}")
