"""Presence from what the mask points at, the whole image and the expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ...structures import TextFeatures
from .build import PRESENCE_REGISTRY, Presence

SMALLEST_SUM = 1e-6  # of a map's weights


@PRESENCE_REGISTRY.register()
class PooledPresence(Presence):
    """A perceptron over the pooled pyramid, the mean word and how sure the mask is.

    With m = softmax(logits)_target, averaged over the cells of stage i, and d the difference of the
    two logits at the decoder's positions:

        a_i = LN_i(sum_n m_n F_i,n / sum_n m_n)     what the mask points at
        g_i = LN_i(mean_n F_i,n)                    the whole image
        l   = LN(mean over real tokens of L_5)
        h   = ReLU(W_1 [a_1, g_1, ..., a_4, g_4, l, max d, mean d])
        presence = w_3 ReLU(W_2 h)

    It reads the pyramid rather than the decoder's last map D_1, so that every decoder can stand in
    front of it: a decoder promises logits and nothing else. What the decoder alone knows arrives
    through m and d, which are taken as they are: presence trains the features, and the mask learns
    what it would learn without it.
    """

    reads_text = True
    parts: ClassVar[Mapping[str, str]] = {"": "presence"}

    @configurable
    def __init__(
        self,
        *,
        input_shape: dict[str, ShapeSpec],
        text_dim: int,
        hidden_dim: int,
        loss_weight: float,
    ):
        """
        Args:
            input_shape: the backbone's maps by name, finest first.
            text_dim: C_l.
            hidden_dim: width of both hidden layers.
            loss_weight: as Presence.
        """
        super().__init__(loss_weight=loss_weight)
        channels = {name: spec.channels for name, spec in input_shape.items()}
        self.map_norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name, dim in channels.items()})
        self.text_norm = nn.LayerNorm(text_dim)
        described = 2 * sum(channels.values()) + text_dim + 2
        self.layers = nn.Sequential(
            nn.Linear(described, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, 1),
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec], text_shape: ShapeSpec
    ) -> dict[str, Any]:
        presence = cfg.MODEL.PRESENCE
        return {
            "input_shape": input_shape,
            "text_dim": text_shape.channels,
            "hidden_dim": presence.HIDDEN_DIM,
            "loss_weight": presence.LOSS_WEIGHT,
        }

    def forward(self, pyramid: dict[str, Tensor], text: TextFeatures, logits: Tensor) -> Tensor:
        """As PRESENCE_REGISTRY says."""
        logits = logits.detach()
        mask = logits.softmax(1)[:, 1:]  # (B, 1, s * h_1, s * w_1)
        difference = (logits[:, 1] - logits[:, 0]).flatten(1)
        described = [
            norm(vector)
            for name, norm in self.map_norms.items()
            for vector in _pool(pyramid[name], mask)
        ]
        is_token = text.is_token[..., None]  # (B, T, 1)
        mean_word = (text.tokens * is_token).sum(1) / is_token.sum(1)
        described.append(self.text_norm(mean_word))
        described.append(torch.stack([difference.amax(1), difference.mean(1)], dim=1))
        return self.layers(torch.cat(described, dim=1))[:, 0].float()


def _pool(map_: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B, C_i) of a map (B, C_i, h_i, w_i), weighted by the mask's probability and plain."""
    height, width = map_.shape[-2:]
    weight = F.adaptive_avg_pool2d(mask, (height, width)).flatten(1)  # (B, N_i)
    weight = weight / weight.sum(1, keepdim=True).clamp(min=SMALLEST_SUM)
    positions = map_.flatten(2)
    return torch.einsum("bcn,bn->bc", positions, weight), positions.mean(2)
