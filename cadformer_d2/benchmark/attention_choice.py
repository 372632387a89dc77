"""Which kernel PyTorch takes for an attention on a GPU, decided without one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .cards import Card

aten = torch.ops.aten
WIDEST_HEAD = 256  # channels of a head in Flash's and cuDNN's kernels
MASK_ALIGNMENT = 16  # elements that rows of the memory-efficient kernel's mask are padded to


class AttentionChoice:
    """``scaled_dot_product_attention`` by the operator that CUDA would choose.

    PyTorch queries the GPU to choose; these are its rules (sdp_utils.cpp) for the cases that occur
    here.
    """

    def __init__(self, card: Card):
        self.card = card

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """As ``scaled_dot_product_attention``, on the chosen kernel."""
        assert not (is_causal or enable_gqa), "the model has no causal or grouped attention"
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            if attn_mask is not None and attn_mask.is_floating_point():
                attn_mask = attn_mask.to(dtype)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            allowed, refused = query.new_zeros(()), query.new_full((), -math.inf)
            attn_mask = torch.where(attn_mask, allowed, refused)
        kernel = self._choose_kernel(query, key, value, attn_mask)
        needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
        scaled = {"scale": scale}
        mask = attn_mask
        if mask is not None and kernel != "math":
            mask = mask.expand(*query.shape[:-1], key.shape[-2])
        if kernel == "cudnn":
            operator = aten._scaled_dot_product_cudnn_attention
            how = (needs_grad, dropout_p, False, False)
            return operator(query, key, value, mask, *how, **scaled)[0]
        if kernel == "flash":
            operator = aten._scaled_dot_product_flash_attention
            return operator(query, key, value, dropout_p, False, **scaled)[0]
        if kernel == "efficient":
            if mask is not None and mask.shape[-1] % MASK_ALIGNMENT:
                keys = mask.shape[-1]
                mask = F.pad(mask, (0, -keys % MASK_ALIGNMENT))[..., :keys]
            operator = aten._scaled_dot_product_efficient_attention
            return operator(query, key, value, mask, needs_grad, dropout_p, **scaled)[0]
        with torch.autocast("cuda", enabled=False):
            operator = aten._scaled_dot_product_attention_math
            return operator(query, key, value, attn_mask, dropout_p, **scaled)[0]

    def _choose_kernel(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> str:
        """ "cudnn", "flash", "efficient", or "math": separate operators in float32."""
        if any(not _is_dense_last(x) for x in (query, key, value, mask) if x is not None):
            return "math"
        is_half = query.dtype in (torch.float16, torch.bfloat16)
        mask_learns = mask is not None and torch.is_grad_enabled() and mask.requires_grad
        if self.card.has_cudnn_attention and is_half and not mask_learns:
            if query.shape[-1] <= WIDEST_HEAD and query.shape[-1] % 8 == 0:
                return "cudnn"
        if is_half and mask is None and query.shape[-1] <= WIDEST_HEAD:
            return "flash"
        return "efficient"


def _is_dense_last(x: Tensor) -> bool:
    """Whether the elements of a row lie side by side, as every fused kernel wants."""
    return x.stride(-1) == 1 or x.shape[-1] == 1
