"""The text encoder, Swin's blocks between the alignments, and the position signal."""

from __future__ import annotations

import math

import torch

from cadformer_d2.structures import TextFeatures

from .notation import attention, convolution, gelu, layer_norm, linear


def bert(w, input_ids, visible, heads):
    """Embeddings and post-norm encoder layers; ``visible`` (B, T): which tokens are looked at."""
    e = w / "embeddings"
    x = (
        e["word_embeddings.weight"][input_ids]
        + e["position_embeddings.weight"][: input_ids.shape[1]]
        + e["token_type_embeddings.weight"][0]
    )
    x = layer_norm(e / "LayerNorm", x, eps=1e-12)
    layer = 0
    while f"encoder.layer.{layer}." in w:
        b = w / f"encoder.layer.{layer}"
        qkv = (linear(b / f"attention.self.{name}", x) for name in ("query", "key", "value"))
        scale = (x.shape[-1] / heads) ** -0.5
        attended = attention(*qkv, heads=heads, scale=scale, allowed=visible[:, None, :])
        attended = linear(b / "attention.output.dense", attended)
        x = layer_norm(b / "attention.output.LayerNorm", x + attended, eps=1e-12)
        hidden = gelu(linear(b / "intermediate.dense", x))
        x = layer_norm(b / "output.LayerNorm", x + linear(b / "output.dense", hidden), eps=1e-12)
        layer += 1
    return x


def encoded(w, input_ids, attention_mask, *roles, heads):
    """One reading for the sentence and one for each role, which sees the role's words alone.

    A sentence in which no word plays the role is read whole; nobody looks at the result.
    """
    whole = attention_mask.bool()
    readings = [
        TextFeatures(
            bert(w / "bert", input_ids, torch.where(mask.any(1)[:, None], mask, whole), heads), mask
        )
        for mask in (whole, *roles)
    ]
    return TextFeatures(readings[0].tokens, whole, *readings[1:])


def patch_embedding(w, image):
    """4 x 4 pixels to a vector, with zeros to the right and below where they are missing."""
    batch, _, height, width = image.shape
    padded = image.new_zeros(batch, 3, -(-height // 4) * 4, -(-width // 4) * 4)
    padded[:, :, :height, :width] = image
    patches = convolution(w / "proj", padded, stride=4)
    x = layer_norm(w / "norm", patches.flatten(2).transpose(1, 2))
    return x, patches.shape[-2:]


def sine_cosine(w, size, num_waves):
    """Sines and cosines of k pi y and k pi x, k = 1..K, at cells' centres, y and x in [0, 1]."""
    waves, rows = range(1, num_waves + 1), []
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = math.pi * (i + 0.5) / size[0], math.pi * (j + 0.5) / size[1]
            rows.append([f(k * t) for t in (y, x) for f in (math.sin, math.cos) for k in waves])
    return linear(w / "projection", torch.tensor(rows, dtype=torch.float64))


def swin_block(w, x, size, *, window, shift, heads):
    """x + W-MSA(LN(x)), x + MLP(LN(x)).

    Cells attend to each other where they lie in one cell of a grid of windows that is moved by
    ``shift``; the map is first filled up with zeros to whole windows.
    """
    (height, width), batch, dim = size, len(x), x.shape[-1]
    rows, columns = -(-height // window) * window, -(-width // window) * window
    padded = x.new_zeros(batch, rows, columns, dim)
    padded[:, :height, :width] = layer_norm(w / "norm1", x).reshape(batch, height, width, dim)
    r, c = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    together = True
    for cell in (r, c):
        home = torch.div(cell - shift, window, rounding_mode="floor")
        together = together & (home[:, None] == home[None, :])
    down, right = r[:, None] - r[None, :], c[:, None] - c[None, :]
    entry = (down + window - 1) * (2 * window - 1) + right + window - 1
    table = (w / "attn")["relative_position_bias_table"]
    qkv = linear(w / "attn.qkv", padded.flatten(1, 2)).chunk(3, dim=-1)
    heads_out = []
    for head, (q, k, u) in enumerate(
        zip(*(part.chunk(heads, dim=-1) for part in qkv), strict=True)
    ):
        bias = torch.where(together, table[entry.clamp(0, len(table) - 1), head], -torch.inf)
        scores = q @ k.transpose(1, 2) * (dim / heads) ** -0.5 + bias
        heads_out.append(torch.softmax(scores, dim=-1) @ u)
    attended = linear(w / "attn.proj", torch.cat(heads_out, dim=-1))
    attended = attended.reshape(batch, rows, columns, dim)[:, :height, :width].flatten(1, 2)
    x = x + attended
    hidden = gelu(linear(w / "mlp.fc1", layer_norm(w / "norm2", x)))
    return x + linear(w / "mlp.fc2", hidden)


def swin_stage(w, x, size, *, depth, window, heads):
    """Every second block works on windows that are moved by half their side."""
    for i in range(depth):
        shift = window // 2 if i % 2 else 0
        x = swin_block(w / f"blocks.{i}", x, size, window=window, shift=shift, heads=heads)
    return x


def patch_merging(w, x, size):
    """Neighbours [(0,0), (1,0), (0,1), (1,1)] joined, LN, a linear map; zeros where missing."""
    height, width = size
    rows, columns = -(-height // 2), -(-width // 2)
    padded = x.new_zeros(len(x), 2 * rows, 2 * columns, x.shape[-1])
    padded[:, :height, :width] = x.reshape(len(x), height, width, -1)
    joined = torch.cat([padded[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], dim=-1)
    return linear(w / "reduction", layer_norm(w / "norm", joined.flatten(1, 2))), (rows, columns)
