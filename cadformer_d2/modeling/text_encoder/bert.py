"""BERT with the sizes of the config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor

from ..alignment import alignment_reads_roles
from .architecture import read_architecture
from .build import TEXT_ENCODER_REGISTRY
from .hugging_face import HuggingFaceTextEncoder

if TYPE_CHECKING:
    from transformers import BertConfig

BERT_BASE_LAYERS = 12


@TEXT_ENCODER_REGISTRY.register()
class BertTextEncoder(HuggingFaceTextEncoder):
    """The last hidden state of BERT, or of its first layers, without the pooler.

    The paper's encoder. Its sizes are keys of MODEL.TEXT_ENCODER, so that a random start needs no
    file.
    """

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
        **rest: Any,
    ):
        """
        Args:
            vocab_size: rows of the token embedding table.
            hidden_size: C_l, channels of the text.
            num_layers: encoder layers; 0 keeps the embedding table alone (word, position and
                segment embeddings with their LayerNorm), as in the authors' released code.
            num_heads, ffn_dim, dropout: of each layer.
            weights: a folder, a Hugging Face name or "package:NAME/folder"; "" starts at random.
            rest: ``frozen``, ``reads_roles`` and ``max_tokens`` of HuggingFaceTextEncoder.

        Raises:
            FileNotFoundError: ``weights`` is not on this machine.
            ValueError: ``weights`` has other sizes or is not a BERT; and as HuggingFaceTextEncoder.
        """
        from transformers import BertConfig

        config = BertConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=ffn_dim,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        if weights:
            _refuse_other_sizes(weights, config)
        super().__init__(config=config, weights=weights, **rest)

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
            "reads_roles": alignment_reads_roles(cfg),
            "max_tokens": cfg.INPUT.MAX_TOKENS,
        }

    @classmethod
    def output_shape(cls, cfg: CfgNode) -> ShapeSpec:
        return ShapeSpec(channels=cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE)

    @classmethod
    def vocabulary_size(cls, cfg: CfgNode) -> int:
        return cfg.MODEL.TEXT_ENCODER.VOCAB_SIZE

    @property
    def carried_values(self) -> dict[str, str]:
        """None: the config has all sizes."""
        return {}

    def network_mask(self, visible: Tensor) -> Tensor:
        """A mask over (query, key); given one over tokens, BERT would synchronise with the host."""
        return visible[:, None, None, :]


def _refuse_other_sizes(weights: str, wanted: BertConfig) -> None:
    """Raise ValueError, naming the config key, if the file's sizes differ from the config's.

    Raises:
        FileNotFoundError: the file is not on this machine.
    """
    published = read_architecture(weights, key="MODEL.TEXT_ENCODER.WEIGHTS")
    if published.model_type != "bert":
        raise ValueError(
            f"{weights} is a {published.model_type}, not a BERT; set MODEL.TEXT_ENCODER.NAME to "
            "HuggingFaceTextEncoder"
        )
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
