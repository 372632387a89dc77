"""The top-down decoders. Each: ``(w, pyramid, text, heads)`` to logits (B, 2, h_1, w_1)."""

from __future__ import annotations

import math

import torch

from .neck import lgce
from .notation import (
    as_map,
    as_positions,
    attention,
    batch_norm,
    convolution,
    convolve,
    layer_norm,
    linear,
    relu,
    resized,
    sigmoid,
)


def rotated(kernel, angle):
    """Each cell (u, v) reads the kernel bilinearly at the turned, clamped place; baselines 4.3."""
    turned = torch.zeros_like(kernel)
    cos, sin = math.cos(angle), math.sin(angle)
    for v in (-1, 0, 1):
        for u in (-1, 0, 1):
            read_u = min(max(u * cos - v * sin, -1), 1)
            read_v = min(max(u * sin + v * cos, -1), 1)
            for q in (-1, 0, 1):
                for p in (-1, 0, 1):
                    weight = max(0, 1 - abs(read_u - p)) * max(0, 1 - abs(read_v - q))
                    turned[..., v + 1, u + 1] += weight * kernel[..., q + 1, p + 1]
    return turned


def adaptive_rotated_convolution(w, x):
    """Each image with sum_j lambda_j Rot(W_j, theta_j), |theta| < 40 degrees, lambda in (0, 1)."""
    r = w / "router"
    described = convolution(r / "depthwise", x, padding=1, groups=x.shape[1])
    p = relu(layer_norm(r / "norm", as_positions(described))).mean(1)
    lambdas = sigmoid(linear(r / "weight_head", p))
    z = linear(r / "angle_head", p)
    thetas = 40 * math.pi / 180 * z / (1 + z.abs())
    images = []
    for image, weights, angles in zip(x, lambdas, thetas, strict=True):
        kernel = sum(
            weight * rotated(base, angle)
            for base, weight, angle in zip(w["weight"], weights, angles.tolist(), strict=True)
        )
        images.append(convolve(image[None], kernel, padding=1))
    return torch.cat(images)


def top_down(w, pyramid, second_convolution, refine=lambda level, D: D):
    """D_4 = F_4; for i = 3, 2, 1: join [Up(D_{i+1}), F_i], 3x3, BN, ReLU, second 3x3, BN, ReLU."""
    D = pyramid["stage4"]
    for level, name in enumerate(("stage3", "stage2", "stage1")):
        f, skip = w / f"fusions.{level}", pyramid[name]
        D = torch.cat([resized(D, skip.shape[-2:], align_corners=True), skip], dim=1)
        D = relu(batch_norm(f / "1", convolution(f / "0", D, padding=1)))
        D = relu(batch_norm(f / "4", second_convolution(f / "3", D)))
        D = refine(level, D)
    return convolution(w / "classifier", D)


def simple_decoding(w, pyramid, text, heads):
    return top_down(w, pyramid, lambda c, x: convolution(c, x, padding=1))


def oad(w, pyramid, text, heads):
    return top_down(w, pyramid, adaptive_rotated_convolution)


def lgce_decoder(w, pyramid, text, heads):
    enhanced = lgce(w / "enhancement", pyramid, text, None, None)
    return simple_decoding(w, enhanced, text, heads)


def multi_head(w, query, memory, heads, allowed=None):
    """The usual multi-head attention with its three maps in one tensor."""
    projected = [
        x @ weight.T + bias
        for x, weight, bias in zip(
            (query, memory, memory),
            w["in_proj_weight"].chunk(3),
            w["in_proj_bias"].chunk(3),
            strict=True,
        )
    ]
    scale = (query.shape[-1] / heads) ** -0.5
    attended = attention(*projected, heads=heads, scale=scale, allowed=allowed)
    return linear(w / "out_proj", attended)


def decoder_layer(w, x, words, is_word, heads):
    """Post-norm: self-attention, cross-attention to the words, feed-forward with ReLU."""
    x = layer_norm(w / "norm1", x + multi_head(w / "self_attn", x, x, heads))
    asked = multi_head(w / "multihead_attn", x, words, heads, is_word[:, None, :])
    x = layer_norm(w / "norm2", x + asked)
    hidden = relu(linear(w / "linear1", x))
    return layer_norm(w / "norm3", x + linear(w / "linear2", hidden))


def tcmd(w, pyramid, text, heads):
    """OAD's convolutions; a Transformer decoder layer after those of stages 3 and 2."""
    words = text.tokens
    if "text_projection" in w:  # where the widths differ
        words = linear(w / "text_projection", words)

    def refine(level, D):
        if level == 2:
            return D
        x = decoder_layer(w / f"text_layers.{level}", as_positions(D), words, text.is_token, heads)
        return as_map(x, D.shape[-2:])

    return top_down(w, pyramid, adaptive_rotated_convolution, refine)


def tcmd_as_released(w, pyramid, text, heads):
    """Padding counts as words."""
    whole = type(text)(text.tokens, torch.ones_like(text.is_token))
    return tcmd(w, pyramid, whole, heads)


DECODERS = {
    "SimpleDecoding": simple_decoding,
    "OAD": oad,
    "LGCEDecoder": lgce_decoder,
    "TCMD": tcmd,
    "TCMDAsReleased": tcmd_as_released,
}
