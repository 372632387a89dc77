"""Presence. Each: ``(w, pyramid, text, logits, *, min_area)`` to logits (B,)."""

from __future__ import annotations

import torch

from .notation import layer_norm, linear, pooled, relu, softmax


def pooled_presence(w, pyramid, text, logits, *, min_area):
    """Of a_i, g_i of every stage, the mean word, max and mean of the logits' difference."""
    samples = []
    for number in range(len(logits)):
        z = logits[number : number + 1]
        described = []
        for name, maps in pyramid.items():
            F = maps[number].flatten(1)  # (C_i, N_i)
            m = pooled(softmax(z, axis=1)[:, 1:], maps.shape[-2:]).flatten()
            norm = w / f"map_norms.{name}"
            described.append(
                layer_norm(norm, sum(m_n * f for m_n, f in zip(m, F.T, strict=True)) / m.sum())
            )
            described.append(layer_norm(norm, sum(F.T) / F.shape[1]))
        words = text.tokens[number][text.is_token[number]]
        described.append(layer_norm(w / "text_norm", sum(words) / len(words)))
        d = z[0, 1] - z[0, 0]
        described.append(torch.stack([d.max(), d.sum() / d.numel()]))
        h = relu(linear(w / "layers.0", torch.cat(described)))
        samples.append(linear(w / "layers.4", relu(linear(w / "layers.2", h))))
    return torch.cat(samples)


def mask_area(w, pyramid, text, logits, *, min_area):
    """sigmoid(log(a / a_0)) = a / (a + a_0)."""
    shares = [(z[1] > z[0]).double().mean() for z in logits]
    return torch.stack([(a / min_area).log() for a in shares])


PRESENCES = {"PooledPresence": pooled_presence, "MaskArea": mask_area}
