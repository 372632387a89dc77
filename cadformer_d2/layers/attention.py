"""Cross-attention between positions of a feature map and words, in both directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..structures import TextFeatures
from .mixed_precision import autocast_kind

EPSILON = 1e-5  # added to variances over positions


def normalize_over_positions(x: Tensor, eps: float = EPSILON) -> Tensor:
    """InstanceNorm without affine parameters: each channel to zero mean and unit variance.

    Args:
        x: (B, N, C).
        eps: added to the biased variance over the N positions.

    Returns:
        (B, N, C); zero where a channel is constant over the positions, N = 1 included.
    """
    # As a layer norm over the last axis, because F.instance_norm refuses a single position.
    return F.layer_norm(x.transpose(1, 2), x.shape[1:2], eps=eps).transpose(1, 2)


class CrossAttention(nn.Module):
    """Projections and masked attention; subclasses define what is normalised, and how."""

    def __init__(self, *, query_dim: int, memory_dim: int, dim: int, num_heads: int = 1):
        """
        Args:
            query_dim: channels of the side that attends (query).
            memory_dim: channels of the side attended to (key and value).
            dim: channels of query, key, value and result.
            num_heads: contiguous channel groups that attend separately; divides ``dim``.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"attention width {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        # PyTorch initialises a Linear as it does the 1x1 convolutions that LAVT uses for these
        # maps. Biases before a normalisation have no effect; they are kept so that parameter counts
        # and weights match the published models.
        self.query = nn.Linear(query_dim, dim)
        self.key = nn.Linear(memory_dim, dim)
        self.value = nn.Linear(memory_dim, dim)
        self.output = nn.Linear(dim, dim)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, is_key: Tensor | None) -> Tensor:
        """softmax(Q K^T / sqrt(dim)) U, heads side by side.

        Args:
            query: (B, N, dim).
            key, value: (B, M, dim).
            is_key: (B, M) bool, True where a key may be attended to; None: everywhere.

        Returns:
            (B, N, dim).
        """
        dim = query.shape[-1]
        # Fused kernels need a position's channels contiguous in memory; a norm over positions
        # leaves them strided, and attention would silently fall back to three separate operators.
        query, key, value = (
            x.contiguous().unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (query, key, value)
        )  # (B, heads, N or M, dim / heads)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if is_key is None else is_key[:, None, None, :],
            # LAVT scales by the full width, whatever the number of heads.
            scale=dim**-0.5,
        )
        return attended.transpose(1, 2).flatten(2)


class PixelWordAttention(CrossAttention):
    """Every position attends to the words (LGVLA, equations 1-4; PWA in the LAVT line)."""

    def forward(self, visual: Tensor, text: TextFeatures) -> Tensor:
        """
        Args:
            visual: V (B, N, C).
            text: L (B, T, C_l); padded tokens get no attention weight.

        Returns:
            InstanceNorm(W_o(softmax(Q K^T / sqrt(dim)) U)) (B, N, dim). Zero where at most one
            token is real: attention is then constant over positions, which the norm removes.
        """
        query = normalize_over_positions(self.query(visual))
        # An expression without real tokens (a role that no word plays) offers nothing to attend to.
        has_token = text.is_token.any(dim=1, keepdim=True)  # (B, 1)
        value = self.value(text.tokens) * has_token[..., None]
        attended = self.attend(
            query, self.key(text.tokens), value, is_key=text.is_token | ~has_token
        )
        return normalize_over_positions(self.output(attended))


class WordPixelAttention(CrossAttention):
    """Every word attends to the positions (VGLVA, equations 7-10)."""

    def __init__(self, *, query_dim: int, memory_dim: int, dim: int, num_heads: int = 1):
        super().__init__(query_dim=query_dim, memory_dim=memory_dim, dim=dim, num_heads=num_heads)
        # A norm over channels, not over tokens as the vision side's mirror image would have it:
        # over tokens, padding would take part in the statistics.
        self.norm = nn.LayerNorm(dim)

    def forward(self, text: TextFeatures, visual: Tensor) -> Tensor:
        """
        Args:
            text: L (B, T, C_l).
            visual: V (B, N, C).

        Returns:
            LayerNorm(W_o(softmax(Q K^T / sqrt(dim)) U)) (B, T, dim). Rows of padded tokens are
            undefined.
        """
        query = self.query(text.tokens)
        if self.is_cheaper_in_visual_channels(visual):
            attended = self.attend_in_visual_channels(query, visual)
        else:
            key = normalize_over_positions(self.key(visual))
            value = normalize_over_positions(self.value(visual))
            attended = self.attend(query, key, value, is_key=None)
        return self.norm(self.output(attended))

    def is_cheaper_in_visual_channels(self, visual: Tensor) -> bool:
        """Whether a map is so narrow that K and U (B, N, dim) are best not made.

        All heads together must have no more channels than K, and the products of a covariance with
        W_k and W_v must stay below those of W_k and W_v with the map.
        """
        num_positions, channels = visual.shape[1:]
        return self.num_heads * channels <= self.key.out_features and num_positions >= 4 * channels

    def attend_in_visual_channels(self, query: Tensor, visual: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(dim)) U with K and U normalised over positions, but never made.

        norm(W v + b) = W' (v - mean v), where W' is W, each row divided by the deviation of its
        channel over the positions. So softmax(Q K^T) U = softmax((Q W'_k) (v - mean v)^T)
        (v - mean v) W'_u^T: attention of T words to N positions of C channels instead of dim.

        Args:
            query: Q (B, T, dim).
            visual: V (B, N, C).

        Returns:
            (B, T, dim).
        """
        heads, dim = self.num_heads, query.shape[-1]
        with torch.autocast(autocast_kind(visual), enabled=False):
            visual = visual.to(torch.promote_types(visual.dtype, torch.float32))
            centred = visual - visual.mean(dim=1, keepdim=True)  # (B, N, C)
            covariance = centred.mT @ centred / centred.shape[1]  # (B, C, C)
            key_map, value_map = (
                _divide_by_deviation(linear, covariance).unflatten(1, (heads, -1)).to(query.dtype)
                for linear in (self.key, self.value)
            )  # (B, heads, dim / heads, C)
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2) @ key_map  # (B, heads, T, C)
        positions = centred.to(query.dtype)[:, None]  # (B, 1, N, C)
        # All heads attend to the same positions, so that they are rows of one attention.
        attended = F.scaled_dot_product_attention(
            query.flatten(1, 2)[:, None], positions, positions, scale=dim**-0.5
        )[:, 0]  # (B, heads * T, C)
        attended = attended.unflatten(1, (heads, -1)) @ value_map.mT  # (B, heads, T, dim / heads)
        return attended.transpose(1, 2).flatten(2)


def _divide_by_deviation(linear: nn.Linear, covariance: Tensor) -> Tensor:
    """W (D, C) with row j divided by the deviation of its product: (B, D, C).

    The variance of w_j v + b_j over positions is w_j Cov(v) w_j^T.
    """
    weight = linear.weight.to(covariance.dtype)
    variance = ((weight @ covariance) * weight).sum(dim=-1, keepdim=True)  # (B, D, 1)
    # The bias has no effect. Times zero it has a gradient, for which several GPUs wait in training.
    variance = variance.add(linear.bias[:, None], alpha=0)
    return weight * (variance + EPSILON).rsqrt()
