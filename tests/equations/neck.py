"""CIM, TMEM and LGCE. Each equation: ``(w, pyramid, text, num_blocks, grid)`` to four maps."""

from __future__ import annotations

import torch

from .alignment import pixel_word_attention
from .notation import (
    as_map,
    as_positions,
    attention,
    batch_norm,
    convolution,
    gelu,
    hard_sigmoid,
    hard_swish,
    layer_norm,
    linear,
    pooled,
    resized,
)


def scale_aware_gate(w, local, context):
    """BN(W l) * Up(hs(BN(W' g))) + Up(BN(W'' g)), Up bilinear with cells as areas."""
    size = local.shape[-2:]
    own, opening, shift = (
        batch_norm(w / f"{name}.1", convolution(w / f"{name}.0", x))
        for name, x in (("local", local), ("gate", context), ("shift", context))
    )
    opening = resized(hard_sigmoid(opening), size, align_corners=False)
    return own * opening + resized(shift, size, align_corners=False)


def across_scales(w, pyramid, grid, mix):
    """Pool all maps to one grid, join 1..4, reduce, mix, BN, expand, split, a gate each."""
    joined = torch.cat([pooled(x, grid) for x in pyramid.values()], dim=1)
    mixed = mix(convolution(w / "reduce", joined))
    expanded = convolution(w / "expand.1", batch_norm(w / "expand.0", mixed))
    contexts = expanded.split([x.shape[1] for x in pyramid.values()], dim=1)
    return {
        name: scale_aware_gate(w / f"gates.{name}", x, g)
        for (name, x), g in zip(pyramid.items(), contexts, strict=True)
    }


def feed_forward(w, x):
    """BN, 1x1 d -> 2d, BN, 3x3 in d groups, ReLU6, 1x1 2d -> d."""
    w, groups = w / "layers", x.shape[1]
    x = batch_norm(w / "2", convolution(w / "1", batch_norm(w / "0", x)))
    x = convolution(w / "3", x, padding=1, groups=groups).clamp(0, 6)
    return convolution(w / "5", x)


def cross_scale_attention(w, X, heads=8, key_dim=32, value_dim=64):
    """baselines 4.2, CSA with clean axes."""
    batch, channels, height, width = X.shape
    x = batch_norm(w / "norm", X)
    half = convolution(w / "half_size.0", x, padding=1, stride=2, groups=channels)
    third = convolution(w / "third_size.0", x, padding=2, stride=3, groups=channels)
    scales = x, batch_norm(w / "half_size.1", half), batch_norm(w / "third_size.1", third)
    E = torch.cat([as_positions(scale) for scale in scales], dim=1)
    qkv = batch_norm(w / "qkv_norm", linear(w / "qkv", E), axis=2)
    attended, values = [], []
    for head in qkv.chunk(heads, dim=-1):
        q, k, v = head[..., :key_dim], head[..., key_dim : 2 * key_dim], head[..., 2 * key_dim :]
        assert v.shape[-1] == value_dim
        attended.append(attention(q, k, v, heads=1, scale=key_dim**-0.5))
        values.append(v[:, : height * width])
    O = torch.cat(attended, dim=-1)  # (B, tokens, 512)
    reduced = linear(w / "select", O.transpose(1, 2))  # (B, 512, h * w)
    finest = as_map(torch.cat(values, dim=-1), (height, width))
    local = convolution(w / "local.1", hard_swish(finest), padding=1, groups=heads * value_dim)
    merged = linear(w / "merge", (reduced + local.flatten(2)).transpose(1, 2))
    y = hard_swish(batch_norm(w / "output.0", as_map(merged, (height, width))))
    return convolution(w / "output.2", y)


def intra_scale(w, x, shares):
    """y + FFN(y) for each scale's share of the channels."""
    parts = x.split(shares, dim=1)
    return torch.cat([y + feed_forward(w / f"parts.{i}", y) for i, y in enumerate(parts)], dim=1)


def cim(w, pyramid, text, num_blocks, grid):
    shares = [x.shape[1] // 4 for x in pyramid.values()]

    def mix(X):
        steps = w / "blocks.0.steps"
        X = X + cross_scale_attention(steps / "0", X)
        X = X + intra_scale(steps / "1", X, shares)
        X = X + cross_scale_attention(steps / "2", X)
        return X + feed_forward(steps / "3", X)

    return across_scales(w, pyramid, grid, mix)


def tmem(w, pyramid, text, num_blocks, grid):
    """y = x + PWA(LN(x), L); y + MLP(LN(y)), on the coarsest map's grid."""
    grid = pyramid["stage4"].shape[-2:]

    def mix(X):
        x = as_positions(X)
        for i in range(num_blocks):
            b = w / f"blocks.{i}"
            normed = layer_norm(b / "attention_norm", x)
            x = x + pixel_word_attention(b / "attention", normed, text.tokens, text.is_token)
            x = x + mlp(b / "mlp", x)
        return as_map(x, grid)

    return across_scales(w, pyramid, grid, mix)


def mlp(w, x):
    """W_2 gelu(W_1 LN(x))."""
    return linear(w / "3", gelu(linear(w / "1", layer_norm(w / "0", x))))


def lgce(w, pyramid, text, num_blocks, grid):
    """Maps 3 and 4, each with a token for the sentence, through 1 and 3 encoder blocks."""
    mean = torch.stack(
        [words[real].mean(0) for words, real in zip(text.tokens, text.is_token, strict=True)]
    )
    enhanced = {}
    for name, blocks in (("stage3", 1), ("stage4", 3)):
        e, x = w / f"encoders.{name}", pyramid[name]
        Z = torch.cat([linear(e / "guide", mean)[:, None], as_positions(x)], dim=1)
        for i in range(blocks):
            b, dim = e / f"blocks.{i}", Z.shape[-1]
            qkv = linear(b / "qkv", layer_norm(b / "attention_norm", Z)).chunk(3, dim=-1)
            # Heads of 64 channels; one where there are fewer.
            heads = max(1, dim // 64)
            scale = (dim / heads) ** -0.5
            Z = Z + linear(b / "output", attention(*qkv, heads=heads, scale=scale))
            Z = Z + mlp(b / "mlp", Z)
        enhanced[name] = as_map(Z[:, 1:], x.shape[-2:])
    return pyramid | enhanced


NECKS = {"CIM": cim, "TMEM": tmem, "LGCE": lgce}
