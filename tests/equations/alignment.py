"""PWAM, IIM, FIAM and SMGAM: what a stage and the sentence tell one another.

Each equation: ``(w, V, text, map_size, heads, stage_input)`` to F (B, N, C), the gated
gate(F) * F and the update D added to V (both where they are read, else None), and L_{i+1}.
"""

from __future__ import annotations

import torch

from .notation import (
    as_map,
    as_positions,
    attention,
    batch_norm,
    convolution,
    gelu,
    instance_norm,
    layer_norm,
    linear,
    relu,
    sigmoid,
)


def pixel_word_attention(w, V, E, is_token, heads=1):
    """baselines 1.2: O = IN(W_o softmax(IN(W_q V) (W_k E)^T / sqrt(K)) W_u E).

    The scale is that of the full width K. A sentence without a real token gives zero.
    """
    query = instance_norm(linear(w / "query", V))
    key, value = linear(w / "key", E), linear(w / "value", E)
    rows = []
    for q, k, u, real in zip(query, key, value, is_token, strict=True):
        scale = q.shape[-1] ** -0.5
        rows.append(
            attention(q, k[real], u[real], heads=heads, scale=scale)
            if real.any()
            else torch.zeros_like(q)
        )
    return instance_norm(linear(w / "output", torch.stack(rows)))


def gate(w, F):
    """tanh(W_2 relu(W_1 F))."""
    return torch.tanh(linear(w / "expand", relu(linear(w / "reduce", F))))


def lgvla(w, V, text, heads):
    """F = gelu(W_m (gelu(W_p V) * O))."""
    projected = gelu(linear(w / "visual_projection.0", V))
    O = pixel_word_attention(w / "attention", V, text.tokens, text.is_token, heads)
    return gelu(linear(w / "output_projection.0", projected * O))


def pwam(w, V, text, map_size, heads, stage_input):
    F = lgvla(w / "lgvla", V, text, heads)
    gated = gate(w / "visual_gate", F) * F if "visual_gate" in w else None
    return F, gated, gated, text.tokens


def various_receptive_block(w, a):
    """BN(c a) + BN(k3 BN(c' a)) + BN(a)."""
    narrow = batch_norm(w / "point.1", convolution(w / "point.0", a))
    inner = batch_norm(w / "wide.1", convolution(w / "wide.0", a))
    wide = batch_norm(w / "wide.3", convolution(w / "wide.2", inner, padding=1))
    return narrow + wide + batch_norm(w / "identity", a)


def iim(w, V, text, map_size, heads, stage_input):
    """D = gate(F) * F + gate_v(Q) * Q, Q = V * sigmoid(R_2(relu(R_1(mean of V's channels))))."""
    F, gated, _, tokens = pwam(w, V, text, map_size, heads, stage_input)
    if "branch" not in w:
        return F, gated, None, tokens
    a = as_map(V, map_size).mean(1, keepdim=True)
    r = relu(various_receptive_block(w / "branch.first", a))
    weight = sigmoid(various_receptive_block(w / "branch.second", r))
    Q = V * as_positions(weight)
    return F, gated, gated + gate(w / "branch_gate", Q) * Q, tokens


def fiam(w, V, text, map_size, heads, stage_input):
    """D = k * (gate(F) * F + s * gate_o(o) * o)."""
    F, gated, _, tokens = pwam(w, V, text, map_size, heads, stage_input)
    if "branch" not in w:
        return F, gated, None, tokens
    b, objects, positions = w / "branch", text.object_words, text.position_words
    o = pixel_word_attention(b / "object_attention", V, objects.tokens, objects.is_token, heads)
    p = pixel_word_attention(
        b / "position_attention", V, positions.tokens, positions.is_token, heads
    )
    p = as_map(p, map_size)
    q = torch.cat([p.mean(1, keepdim=True), p.amax(1, keepdim=True)], dim=1)
    s = as_positions(sigmoid(convolution(b / "place", q, padding=1)))
    z = V.mean(1, keepdim=True)
    k = sigmoid(linear(w / "modulation.weigh.2", relu(linear(w / "modulation.weigh.0", z))))
    return F, gated, k * (gated + s * gate(b / "object_gate", o) * o), tokens


def vglva(w, L, V, attended):
    """R = gelu(W_m (gelu(W_p L) * Norm(W_o A))), A the words' attention."""
    projected = gelu(linear(w / "text_projection.0", L))
    return gelu(linear(w / "output_projection.0", projected * attended(w / "attention", L, V)))


def word_pixel_attention(heads):
    def attended(w, L, V):
        """LN(W_o softmax(W_q L IN(W_k V)^T / sqrt(K)) IN(W_u V))."""
        query = linear(w / "query", L)
        key, value = (instance_norm(linear(w / name, V)) for name in ("key", "value"))
        scale = query.shape[-1] ** -0.5
        return layer_norm(
            w / "norm",
            linear(w / "output", attention(query, key, value, heads=heads, scale=scale)),
        )

    return attended


def released_word_pixel_attention(heads, is_token):
    def attended(w, L, V):
        """The additive mask multiplied into the queries; the last norm over the tokens."""
        query = linear(w / "query", L) * torch.where(is_token, 0.0, -10000.0)[..., None]
        key, value = (instance_norm(linear(w / name, V)) for name in ("key", "value"))
        scale = query.shape[-1] ** -0.5
        return instance_norm(
            linear(w / "output", attention(query, key, value, heads=heads, scale=scale))
        )

    return attended


def refined(w, L, V, attended):
    """L + gate(R) * R; L where nobody reads it."""
    if "vglva" not in w:
        return L
    R = vglva(w / "vglva", L, V, attended)
    return L + gate(w / "text_gate", R) * R


def smgam(w, V, text, map_size, heads, stage_input):
    F, gated, update, L = pwam(w, V, text, map_size, heads, stage_input)
    return F, gated, update, refined(w, L, V, word_pixel_attention(heads))


def smgam_as_released(w, V, text, map_size, heads, stage_input):
    """The words ask the stage's input, X_{i-1}, instead of V_i."""
    F, gated, update, L = pwam(w, V, text, map_size, heads, stage_input)
    attended = released_word_pixel_attention(heads, text.is_token)
    return F, gated, update, refined(w, L, stage_input, attended)


ALIGNMENTS = {
    "PWAM": pwam,
    "IIM": iim,
    "FIAM": fiam,
    "SMGAM": smgam,
    "SMGAMAsReleased": smgam_as_released,
}
