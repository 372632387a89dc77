import pytest
import torch
from torch import nn

from cadformer_d2.layers.attention import (
    PixelWordAttention,
    WordPixelAttention,
    normalize_over_positions,
)
from cadformer_d2.structures import TextFeatures


def text_features(*, num_real=5, num_padding=0, dim=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, num_real, dim, generator=generator)
    padding = 100 * torch.ones(2, num_padding, dim)
    is_token = torch.arange(num_real + num_padding).expand(2, -1) < num_real
    return TextFeatures(torch.cat([tokens, padding], dim=1), is_token)


def test_position_norm_is_instance_norm():
    x = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0))
    expected = nn.InstanceNorm1d(5)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(normalize_over_positions(x), expected)


def test_position_norm_of_a_single_position_is_zero():
    assert normalize_over_positions(torch.randn(2, 1, 5)).abs().max() == 0


def test_pixel_word_attention_is_the_equation():
    torch.manual_seed(0)
    attention = PixelWordAttention(query_dim=8, memory_dim=12, dim=8)
    visual, text = torch.randn(2, 20, 8), text_features()
    query = normalize_over_positions(attention.query(visual))
    key, value = attention.key(text.tokens), attention.value(text.tokens)
    weight = (query @ key.transpose(1, 2) / 8**0.5).softmax(dim=-1)
    expected = normalize_over_positions(attention.output(weight @ value))
    torch.testing.assert_close(attention(visual, text), expected)


def test_heads_keep_the_scale_of_the_full_width():
    torch.manual_seed(0)
    attention = PixelWordAttention(query_dim=8, memory_dim=12, dim=8, num_heads=2)
    visual, text = torch.randn(2, 20, 8), text_features()
    query = normalize_over_positions(attention.query(visual)).chunk(2, dim=-1)
    key, value = (f(text.tokens).chunk(2, dim=-1) for f in (attention.key, attention.value))
    heads = [
        (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ u
        for q, k, u in zip(query, key, value, strict=True)
    ]
    expected = normalize_over_positions(attention.output(torch.cat(heads, dim=-1)))
    torch.testing.assert_close(attention(visual, text), expected)


@pytest.mark.parametrize("channels, is_narrow", [(4, True), (8, False)])
@pytest.mark.parametrize("heads", [1, 3])
def test_word_pixel_attention_is_the_equation(heads, channels, is_narrow):
    """Also where neither key nor value map is made, and with channels of any mean and scale."""
    torch.manual_seed(0)
    attention = WordPixelAttention(query_dim=12, memory_dim=channels, dim=12, num_heads=heads)
    attention = attention.double()
    text = text_features()
    text = TextFeatures(text.tokens.double().requires_grad_(), text.is_token)
    scales = torch.logspace(-2, 1, channels, dtype=torch.float64)
    visual = (scales * (torch.randn(2, 20, channels, dtype=torch.float64) + 3)).requires_grad_()
    assert attention.is_cheaper_in_visual_channels(visual) == is_narrow

    query = attention.query(text.tokens).chunk(heads, dim=-1)
    key, value = (
        normalize_over_positions(linear(visual)).chunk(heads, dim=-1)
        for linear in (attention.key, attention.value)
    )
    attended = [
        (q @ k.transpose(1, 2) / 12**0.5).softmax(-1) @ u
        for q, k, u in zip(query, key, value, strict=True)
    ]
    expected = attention.norm(attention.output(torch.cat(attended, dim=-1)))
    got = attention(text, visual)
    torch.testing.assert_close(got, expected)

    inputs = [visual, text.tokens, *attention.parameters()]
    gradients = [torch.autograd.grad((x**3).sum(), inputs) for x in (got, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-7)


def test_padding_changes_neither_direction():
    torch.manual_seed(0)
    to_pixels = PixelWordAttention(query_dim=8, memory_dim=12, dim=8)
    to_words = WordPixelAttention(query_dim=12, memory_dim=8, dim=12)
    visual = torch.randn(2, 20, 8)
    short, padded = text_features(), text_features(num_padding=7)
    torch.testing.assert_close(to_pixels(visual, short), to_pixels(visual, padded))
    torch.testing.assert_close(to_words(short, visual), to_words(padded, visual)[:, :5])


def test_one_real_token_leaves_nothing_to_tell_positions_apart():
    torch.manual_seed(0)
    attention = PixelWordAttention(query_dim=8, memory_dim=12, dim=8)
    response = attention(torch.randn(2, 20, 8), text_features(num_real=1, num_padding=3))
    assert response.abs().max() < 1e-2  # float noise, blown up by the norm's 1 / sqrt(1e-5)
