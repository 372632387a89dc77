"""The papers' equations in float64, written out one after the other as they read there.

V (B, N, C) positions, L (B, T, C_l) words, m (B, T) True on words. A linear map comes as the module
that holds its weights; nothing else of the product is used.
"""

import math

import torch
import torch.nn.functional as F


def linear(layer, x):
    """x W^T + b."""
    y = torch.einsum("...i,oi->...o", x, layer.weight)
    return y if layer.bias is None else y + layer.bias


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def instance_norm(x):
    """Over the positions, each channel by itself, without affine parameters."""
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def layer_norm(layer, x):
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = (centred.square().mean(dim=-1, keepdim=True) + layer.eps).sqrt()
    return centred / scale * layer.weight + layer.bias


def batch_norm(layer, x):
    """In evaluation: with the running statistics. x (B, C, ...)."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, variance, weight, bias = (
        value.view(shape)
        for value in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    return (x - mean) / (variance + layer.eps).sqrt() * weight + bias


def attention(query, key, value, *, heads, scale, is_key=None):
    """softmax(Q K^T * scale) U, each head on its contiguous channels."""
    results = []
    width, value_width = query.shape[-1] // heads, value.shape[-1] // heads
    for head in range(heads):
        q, k = (x[..., head * width : (head + 1) * width] for x in (query, key))
        u = value[..., head * value_width : (head + 1) * value_width]
        scores = torch.einsum("bnc,bmc->bnm", q, k) * scale
        if is_key is not None:
            scores = scores.masked_fill(~is_key[:, None, :], -math.inf)
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        results.append(torch.einsum("bnm,bmc->bnc", weights, u))
    return torch.cat(results, dim=-1)


def pixel_word_attention(maps, v, words, m, heads=1):
    """baselines 1.2: IN(W_o softmax(IN(W_q V) (W_k L)^T / sqrt(width)) (W_u L))."""
    query = instance_norm(linear(maps.query, v))
    key, value = linear(maps.key, words), linear(maps.value, words)
    attended = attention(query, key, value, heads=heads, scale=query.shape[-1] ** -0.5, is_key=m)
    return instance_norm(linear(maps.output, attended))


def lgvla(maps, v, words, m, heads=1):
    """Equations 1-5: F = P_out(P(V) * O)."""
    product = gelu(linear(maps.visual_projection[0], v)) * pixel_word_attention(
        maps.attention, v, words, m, heads
    )
    return gelu(linear(maps.output_projection[0], product))


def gate(maps, f):
    """Equation 6: tanh(W_2 relu(W_1 F))."""
    hidden = linear(maps.reduce, f)
    hidden = torch.where(hidden > 0, hidden, 0)
    return 2 * sigmoid(2 * linear(maps.expand, hidden)) - 1  # tanh


def vglva(maps, words, v, heads=1):
    """Equations 7-11, with a LayerNorm over channels after W_o: R = P_out(P(L) * O)."""
    inner = maps.attention
    key, value = instance_norm(linear(inner.key, v)), instance_norm(linear(inner.value, v))
    query = linear(inner.query, words)
    attended = attention(query, key, value, heads=heads, scale=query.shape[-1] ** -0.5)
    o = layer_norm(inner.norm, linear(inner.output, attended))
    product = gelu(linear(maps.text_projection[0], words)) * o
    return gelu(linear(maps.output_projection[0], product))


def vglva_as_released(maps, words, m, v, heads=1):
    """baselines 8.1: an additive mask (0 real, -10000 padded) multiplies the queries."""
    inner = maps.attention
    key, value = instance_norm(linear(inner.key, v)), instance_norm(linear(inner.value, v))
    additive = torch.where(m, 0.0, -10000.0).to(words.dtype)
    query = linear(inner.query, words) * additive[..., None]
    attended = attention(query, key, value, heads=heads, scale=query.shape[-1] ** -0.5)
    o = instance_norm(linear(inner.output, attended))
    product = gelu(linear(maps.text_projection[0], words)) * o
    return gelu(linear(maps.output_projection[0], product))


def convolution(layer, x):
    """The sum by definition, over a zero border. x (B, C, h, w); stride, groups and bias heeded."""
    (top, left), (stride, _) = layer.padding, layer.stride
    padded = F.pad(x, (left, left, top, top))
    kernel = layer.weight  # (C_out, C_in / groups, k, k)
    size = kernel.shape[-1]
    height = (padded.shape[2] - size) // stride + 1
    width = (padded.shape[3] - size) // stride + 1
    outputs = []
    for x_part, k_part in zip(
        padded.chunk(layer.groups, dim=1), kernel.chunk(layer.groups, dim=0), strict=True
    ):
        total = 0
        for row in range(size):
            for column in range(size):
                seen = x_part[
                    :,
                    :,
                    row : row + stride * (height - 1) + 1 : stride,
                    column : column + stride * (width - 1) + 1 : stride,
                ]
                total = total + torch.einsum("bchw,oc->bohw", seen, k_part[:, :, row, column])
        outputs.append(total)
    result = torch.cat(outputs, dim=1)
    return result if layer.bias is None else result + layer.bias[:, None, None]


def bilinear(x, size, *, align_corners):
    """Every new value from the four old ones around it. x (B, C, h, w)."""
    for axis, new in zip((2, 3), size, strict=True):
        old = x.shape[axis]
        place = torch.arange(new, dtype=x.dtype)
        if align_corners:
            place = place * (old - 1) / max(new - 1, 1)
        else:
            place = ((place + 0.5) * old / new - 0.5).clamp(min=0)
        low = place.floor().long().clamp(max=old - 1)
        high = (low + 1).clamp(max=old - 1)
        share = (place - low).view([-1 if a == axis else 1 for a in range(4)])
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def relu(x):
    return torch.where(x > 0, x, 0)


def hard_sigmoid(x):
    return (x + 3).clamp(0, 6) / 6


def rotated_kernel(kernel, angle):
    """baselines 4.3: border-clamped bilinear reading of a 3 x 3 kernel's own grid, cell by cell."""
    turned = torch.zeros_like(kernel)
    cos, sin = math.cos(angle), math.sin(angle)
    for v in (-1, 0, 1):
        for u in (-1, 0, 1):
            x = min(1, max(-1, u * cos - v * sin))
            y = min(1, max(-1, u * sin + v * cos))
            for q in (-1, 0, 1):
                for p in (-1, 0, 1):
                    weight = max(0, 1 - abs(x - p)) * max(0, 1 - abs(y - q))
                    turned[..., v + 1, u + 1] += weight * kernel[..., q + 1, p + 1]
    return turned


def adaptive_rotated_convolution(layer, x):
    """baselines 4.3: per image, sum_j lambda_j Rot(W_j, theta_j), theta below 40 degrees."""
    router = layer.router
    described = convolution(router.depthwise, x).permute(0, 2, 3, 1)
    pooled = relu(layer_norm(router.norm, described)).mean(dim=(1, 2))
    weights = sigmoid(linear(router.weight_head, pooled))
    raw = linear(router.angle_head, pooled)
    angles = 40 * math.pi / 180 * raw / (1 + raw.abs())
    outputs = []
    for image, angle, weight in zip(x, angles, weights, strict=True):
        kernel = sum(
            w * rotated_kernel(base, float(a))
            for base, a, w in zip(layer.weight, angle, weight, strict=True)
        )
        outputs.append(F.conv2d(image[None], kernel, padding=1))
    return torch.cat(outputs)


def decoder_level(fuse, coarse, fine):
    """Upsample with corners aligned, coarse channels first, then [conv, BN, ReLU] twice."""
    up = bilinear(coarse, fine.shape[-2:], align_corners=True)
    x = torch.cat([up, fine], dim=1)
    x = relu(batch_norm(fuse[1], convolution(fuse[0], x)))
    second = fuse[3]
    is_rotated = hasattr(second, "router")
    x = adaptive_rotated_convolution(second, x) if is_rotated else convolution(second, x)
    return relu(batch_norm(fuse[4], x))


def transformer_layer(layer, x, words, m):
    """Post-norm: self-attention over positions, cross-attention to words, feed-forward."""
    x = layer_norm(layer.norm1, x + multi_head(layer.self_attn, x, x, None))
    x = layer_norm(layer.norm2, x + multi_head(layer.multihead_attn, x, words, m))
    return layer_norm(layer.norm3, x + linear(layer.linear2, relu(linear(layer.linear1, x))))


def multi_head(maps, x, memory, is_key):
    weights, biases = maps.in_proj_weight.chunk(3), maps.in_proj_bias.chunk(3)
    query, key, value = (
        source @ weight.T + bias
        for source, weight, bias in zip((x, memory, memory), weights, biases, strict=True)
    )
    scale = (query.shape[-1] // maps.num_heads) ** -0.5
    attended = attention(query, key, value, heads=maps.num_heads, scale=scale, is_key=is_key)
    return linear(maps.out_proj, attended)


def as_positions(x):
    """(B, C, h, w) to (B, h * w, C), row by row."""
    return x.flatten(2).transpose(1, 2)


def as_map(x, like):
    return x.transpose(1, 2).reshape(len(x), -1, *like.shape[-2:])


def scale_aware_gate(layer, local, context):
    """baselines 1.4: BN(conv l) * Up(hs(BN(conv' g))) + Up(BN(conv'' g)), align_corners False."""
    size = local.shape[-2:]
    opened = hard_sigmoid(batch_norm(layer.gate[1], convolution(layer.gate[0], context)))
    shift = batch_norm(layer.shift[1], convolution(layer.shift[0], context))
    kept = batch_norm(layer.local[1], convolution(layer.local[0], local))
    return kept * bilinear(opened, size, align_corners=False) + bilinear(
        shift, size, align_corners=False
    )
