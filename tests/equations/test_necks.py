"""Every neck against the equations of the papers."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec

from cadformer_d2.modeling.neck import CIM, LGCE, TMEM
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.neck.cross_scale import ScaleAwareGate
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.structures import TextFeatures
from equations import formulas
from equations.conftest import same

C_L = 12
CHANNELS = (8, 16, 32, 64)
SIZES = ((16, 24), (8, 12), (4, 6), (2, 3))
SHAPE = {f"stage{i + 1}": ShapeSpec(channels=c, stride=4 * 2**i) for i, c in enumerate(CHANNELS)}


def inputs():
    pyramid = {
        f"stage{i + 1}": torch.randn(2, c, *size)
        for i, (c, size) in enumerate(zip(CHANNELS, SIZES, strict=True))
    }
    m = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return pyramid, TextFeatures(torch.randn(2, 6, C_L), m)


def average_pool(x, size):
    """Means over the equal cells of a finer map."""
    rows, columns = (a // b for a, b in zip(x.shape[-2:], size, strict=True))
    return x.reshape(*x.shape[:2], size[0], rows, size[1], columns).mean(dim=(3, 5))


def cross_scale(neck, pyramid, mix):
    """baselines 4.2, steps 1, 2, 4, 5: pool, reduce, mix, expand, a gate per scale."""
    pooled = torch.cat([average_pool(x, SIZES[-1]) for x in pyramid.values()], dim=1)
    x = mix(formulas.convolution(neck.reduce, pooled))
    expanded = formulas.convolution(neck.expand[1], formulas.batch_norm(neck.expand[0], x))
    starts = [sum(CHANNELS[:i]) for i in range(5)]
    return {
        name: formulas.scale_aware_gate(
            neck.gates[name], pyramid[name], expanded[:, starts[i] : starts[i + 1]]
        )
        for i, name in enumerate(pyramid)
    }


def feed_forward(parts, x):
    """FFN_d: BN, 1x1, BN, grouped 3x3, ReLU6, 1x1."""
    first_norm, widen, norm, grouped, _, narrow = parts.layers
    x = formulas.convolution(widen, formulas.batch_norm(first_norm, x))
    x = formulas.convolution(grouped, formulas.batch_norm(norm, x))
    return formulas.convolution(narrow, x.clamp(0, 6))


def hard_swish(x):
    return x * formulas.hard_sigmoid(x)


def cross_scale_attention(parts, x):
    """CSA of baselines 4.2, with axes in order."""
    grid = x.shape[-2:]
    x = formulas.batch_norm(parts.norm, x)
    coarser = [
        formulas.batch_norm(norm, formulas.convolution(conv, x))
        for conv, norm in (parts.half_size, parts.third_size)
    ]
    assert [t.shape[2] for t in coarser] == [math.ceil(grid[0] / 2), math.ceil(grid[0] / 3)]
    tokens = torch.cat([formulas.as_positions(t) for t in (x, *coarser)], dim=1)
    qkv = formulas.linear(parts.qkv, tokens)  # (B, tokens, 8 * 128)
    qkv = formulas.batch_norm(parts.qkv_norm, qkv.transpose(1, 2)).transpose(1, 2)
    results, values = [], []
    for head in range(8):
        of_head = qkv[..., 128 * head : 128 * (head + 1)]
        query, key, value = of_head[..., :32], of_head[..., 32:64], of_head[..., 64:]
        results.append(formulas.attention(query, key, value, heads=1, scale=32**-0.5))
        values.append(value)
    attended, value = torch.cat(results, dim=-1), torch.cat(values, dim=-1)  # (B, tokens, 512)
    selected = formulas.linear(parts.select, attended.transpose(1, 2))  # (B, 512, h * w)
    first = value[:, : grid[0] * grid[1]].transpose(1, 2).reshape(len(x), 512, *grid)
    local = formulas.convolution(parts.local[1], hard_swish(first))
    total = (selected + local.flatten(2)).transpose(1, 2)
    merged = formulas.as_map(formulas.linear(parts.merge, total), x)
    norm, _, last = parts.output
    return formulas.convolution(last, hard_swish(formulas.batch_norm(norm, merged)))


def expected_cim(neck, pyramid, text):
    def mix(x):
        attention, shares, again, last = neck.blocks[0].steps
        x = x + cross_scale_attention(attention, x)
        parts = x.split([c // 4 for c in CHANNELS], dim=1)
        # The double residual: a share becomes 2 y + FFN(y).
        inner = [y + feed_forward(ffn, y) for y, ffn in zip(parts, shares.parts, strict=True)]
        x = x + torch.cat(inner, dim=1)
        x = x + cross_scale_attention(again, x)
        return x + feed_forward(last, x)

    return cross_scale(neck, pyramid, mix)


def expected_tmem(neck, pyramid, text):
    """baselines 5.4: y = x + PWA(LN(x), L); x <- y + MLP(LN(y))."""

    def mix(x):
        like = x
        x = formulas.as_positions(x)
        for block in neck.blocks:
            asked = formulas.layer_norm(block.attention_norm, x)
            y = x + formulas.pixel_word_attention(
                block.attention, asked, text.tokens, text.is_token
            )
            x = y + mlp(block.mlp, y)
        return formulas.as_map(x, like)

    return cross_scale(neck, pyramid, mix)


def mlp(layers, x):
    norm, widen, _, narrow = layers
    hidden = formulas.gelu(formulas.linear(widen, formulas.layer_norm(norm, x)))
    return formulas.linear(narrow, hidden)


def expected_lgce(neck, pyramid, text):
    """baselines 3.1 and 3.2: [guide; map] through pre-norm blocks; maps 1 and 2 as they came."""
    result = dict(pyramid)
    counts = text.is_token.sum(dim=1)
    mean = torch.stack(
        [words[: int(n)].mean(dim=0) for words, n in zip(text.tokens, counts, strict=True)]
    )
    for name, blocks in (("stage3", 1), ("stage4", 3)):
        encoder = neck.encoders[name]
        assert len(encoder.blocks) == blocks
        guide = formulas.linear(encoder.guide, mean)[:, None]
        z = torch.cat([guide, formulas.as_positions(pyramid[name])], dim=1)
        for block in encoder.blocks:
            qkv = formulas.linear(block.qkv, formulas.layer_norm(block.attention_norm, z))
            query, key, value = qkv.chunk(3, dim=-1)
            width = z.shape[-1] // block.num_heads
            attended = formulas.attention(
                query, key, value, heads=block.num_heads, scale=width**-0.5
            )
            z = z + formulas.linear(block.output, attended)
            z = z + mlp(block.mlp, z)
        result[name] = formulas.as_map(z[:, 1:], pyramid[name])
    return result


NECKS = {
    "CIM": (lambda: CIM(input_shape=SHAPE, mixing_grid=SIZES[-1]), expected_cim),
    "TMEM": (lambda: TMEM(input_shape=SHAPE, text_dim=C_L, num_blocks=2), expected_tmem),
    "LGCE": (lambda: LGCE(input_shape=SHAPE, text_dim=C_L), expected_lgce),
}


def test_every_registered_neck_has_its_equation():
    assert sorted(NECKS) == registered_names(NECK_REGISTRY)


@pytest.mark.parametrize("name", NECKS)
def test_a_neck_is_its_equation(name, randomized):
    make, equation = NECKS[name]
    neck = randomized(make())
    if name == "LGCE":  # two heads, so that their order and scale count
        for block in neck.encoders["stage4"].blocks:
            block.num_heads = 2
    pyramid, text = inputs()
    ours, expected = neck(pyramid, text), equation(neck, pyramid, text)
    assert ours.keys() == expected.keys()
    for stage, value in expected.items():
        same(ours[stage], value)


def test_the_scale_aware_gate_is_its_equation(randomized):
    gate = randomized(ScaleAwareGate(dim=6))
    local, context = torch.randn(2, 6, 7, 9), torch.randn(2, 6, 2, 3)
    same(gate(local, context), formulas.scale_aware_gate(gate, local, context))
