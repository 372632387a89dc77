"""Operators as the papers write them.

B batch, N positions, T tokens, C channels, maps (B, C, h, w).

A module's weights come as ``Weights``, by the names of its state dict.
"""

from __future__ import annotations

import math

import torch


class Weights:
    """Tensors of a module by name; ``w / "part"`` are those of a part."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def __truediv__(self, part):
        return Weights(self.tensors, f"{self.prefix}{part}.")

    def __getitem__(self, name):
        return self.tensors[self.prefix + name]

    def __contains__(self, part):
        return any(name.startswith(self.prefix + part) for name in self.tensors)


def randomized(module):
    """The module in float64 and evaluation mode, with weights nowhere trivial, and these."""
    generator = torch.Generator().manual_seed(0)

    def normal(tensor, scale):
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * scale

    def uniform(tensor, low, high):
        ratio = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * ratio

    module.double().eval()
    state = module.state_dict()
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var"):
            state[name] = uniform(tensor, 0.3, 2)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel() if tensor.dim() < 5 else tensor[0, 0].numel()
            state[name] = normal(tensor, 1.5 / math.sqrt(fan_in))
        elif name.endswith("weight"):  # a norm's
            state[name] = uniform(tensor, 0.5, 2)
        else:
            state[name] = normal(tensor, 0.5)
    module.load_state_dict(state)
    return module, Weights(module.state_dict())


def linear(w, x):
    y = x @ w["weight"].T
    return y + w["bias"] if "bias" in w else y


def convolution(w, x, *, padding=0, stride=1, groups=1):
    """Sum over the kernel's cells and the channels of a group; zeros around the map."""
    kernel = w["weight"]
    y = convolve(x, kernel, padding=padding, stride=stride, groups=groups)
    return y + w["bias"][:, None, None] if "bias" in w else y


def convolve(x, kernel, *, padding=0, stride=1, groups=1):
    out_channels, _, rows, columns = kernel.shape
    batch, channels, height, width = x.shape
    padded = x.new_zeros(batch, channels, height + 2 * padding, width + 2 * padding)
    padded[:, :, padding : padding + height, padding : padding + width] = x
    out_height = (height + 2 * padding - rows) // stride + 1
    out_width = (width + 2 * padding - columns) // stride + 1
    y = 0
    for i in range(rows):
        for j in range(columns):
            cell = padded[:, :, i::stride, j::stride][:, :, :out_height, :out_width]
            cell = cell.reshape(batch, groups, channels // groups, out_height, out_width)
            weights = kernel[:, :, i, j].reshape(groups, out_channels // groups, -1)
            y = y + torch.einsum("bgchw,goc->bgohw", cell, weights)
    return y.reshape(batch, out_channels, out_height, out_width)


def batch_norm(w, x, axis=1):
    """With running statistics, as in evaluation; with the batch's own where there are none."""
    shape = [-1 if i == axis else 1 for i in range(x.dim())]
    weight, bias = w["weight"].reshape(shape), w["bias"].reshape(shape)
    if "running_mean" in w:
        mean, variance = w["running_mean"].reshape(shape), w["running_var"].reshape(shape)
    else:
        others = [i for i in range(x.dim()) if i != axis]
        mean = x.mean(others, keepdim=True)
        variance = (x - mean).square().mean(others, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def layer_norm(w, x, eps=1e-5):
    """Over the last axis."""
    centred = x - x.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * w["weight"] + w["bias"]
    )


def instance_norm(x):
    """IN: over the N positions of (B, N, C), without affine parameters."""
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()


def relu(x):
    return torch.where(x > 0, x, 0)


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def hard_sigmoid(x):
    return (x + 3).clamp(0, 6) / 6


def hard_swish(x):
    return x * hard_sigmoid(x)


def softmax(x, axis=-1):
    weights = (x - x.amax(axis, keepdim=True)).exp()
    return weights / weights.sum(axis, keepdim=True)


def attention(query, key, value, *, heads, scale, allowed=None):
    """softmax(scale * Q K^T) U for each contiguous group of channels, side by side.

    ``allowed``: (..., N, M), where a query may look; None: everywhere.
    """
    results = []
    for q, k, u in zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True):
        scores = scale * q @ k.transpose(-1, -2)
        if allowed is not None:
            scores = torch.where(allowed, scores, -torch.inf)
        results.append(softmax(scores) @ u)
    return torch.cat(results, dim=-1)


def resized(x, size, *, align_corners):
    """Bilinear reading of (B, C, h, w) at another size, one axis after the other."""
    rows, columns = (
        axis_weights(old, new, align_corners) for old, new in zip(x.shape[-2:], size, strict=True)
    )
    return rows @ x @ columns.T


def axis_weights(old, new, align_corners):
    """(new, old): how much of each old cell a new one reads."""
    index = torch.arange(new, dtype=torch.float64)
    if align_corners:  # first on first, last on last
        place = index * (old - 1) / max(new - 1, 1)
    else:  # a cell is an area with its centre at a half
        place = ((index + 0.5) * old / new - 0.5).clamp(0, old - 1)
    return relu(1 - (place[:, None] - torch.arange(old)).abs())


def pooled(x, size):
    """Mean over the cells that new cell i touches, from floor(i n / m) to ceil((i + 1) n / m)."""
    (height, width), (rows, columns) = x.shape[-2:], size
    y = x.new_zeros(*x.shape[:2], rows, columns)
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * height // rows, -(-(i + 1) * height // rows)
            left, right = j * width // columns, -(-(j + 1) * width // columns)
            y[:, :, i, j] = x[:, :, top:bottom, left:right].mean((-2, -1))
    return y


def as_map(x, size):
    """(B, N, C) to (B, C, h, w), row by row."""
    return x.transpose(1, 2).reshape(len(x), -1, *size)


def as_positions(x):
    """(B, C, h, w) to (B, N, C)."""
    return x.flatten(2).transpose(1, 2)
