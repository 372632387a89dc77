"""TCMD, the paper's textual-enhanced cross-modal decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...structures import TextFeatures
from .build import DECODER_REGISTRY
from .top_down import OAD


@DECODER_REGISTRY.register()
class TCMD(OAD):
    """OAD's convolutions, with attention to the text at the two coarser levels (eq. 13-15).

    For i = 3, 2 a Transformer decoder layer follows the convolutions: self-attention over the
    positions, then cross-attention to the text.
    """

    reads_text = True
    parts: ClassVar[Mapping[str, str]] = {"text": "decoder Transformer", **OAD.parts}

    @configurable
    def __init__(
        self,
        *,
        text_dim: int,
        hidden_dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        **convolutions: Any,
    ):
        """
        Args:
            text_dim: C_l; projected once to ``hidden_dim`` where the two differ.
            hidden_dim: channels of D_3, D_2 and D_1.
            num_heads, ffn_dim, dropout: of the Transformer layers.
            convolutions: the other arguments of OAD.
        """
        if hidden_dim % num_heads:
            raise ValueError(
                f"MODEL.DECODER.HIDDEN_DIM {hidden_dim} is not divisible by "
                f"MODEL.DECODER.NUM_HEADS {num_heads}"
            )
        super().__init__(hidden_dim=hidden_dim, **convolutions)
        self.text_projection = (
            nn.Identity() if text_dim == hidden_dim else nn.Linear(text_dim, hidden_dim)
        )
        self.text_layers = nn.ModuleList(
            nn.TransformerDecoderLayer(hidden_dim, num_heads, ffn_dim, dropout)
            for _ in self.fusions[:-1]
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        decoder = cfg.MODEL.DECODER
        return {
            **super().from_config(cfg, input_shape, text_shape),
            "text_dim": text_shape.channels,
            "num_heads": decoder.NUM_HEADS,
            "ffn_dim": decoder.FFN_DIM,
            "dropout": decoder.DROPOUT,
        }

    def recomputed_modules(self) -> list[nn.Module]:
        return [*super().recomputed_modules(), *self.text_layers]

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures) -> Tensor:
        """As OAD, with ``text`` L_5, refined by all stages."""
        projected = TextFeatures(self.text_projection(text.tokens), text.is_token)
        return super().forward(pyramid, projected)

    def refine(self, level: int, decoded: Tensor, text: TextFeatures) -> Tensor:
        """One Transformer decoder layer over the h_i * w_i positions of a map (equation 14)."""
        if level == len(self.text_layers):
            return decoded
        # PyTorch's layer works on positions first. Contiguous, or in inference mode its linear maps
        # would go from position to position, in bfloat16 with a copy of their weights for each.
        positions = decoded.flatten(2).permute(2, 0, 1).contiguous()  # (h_i * w_i, B, hidden_dim)
        words = text.tokens.transpose(0, 1).contiguous()  # (T, B, hidden_dim)
        positions = self.text_layers[level](
            positions, words, memory_key_padding_mask=~text.is_token
        )
        # Channels last, as the convolutions want it.
        positions = positions.transpose(0, 1).contiguous()
        return positions.transpose(1, 2).unflatten(2, decoded.shape[-2:])
