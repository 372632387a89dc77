"""Every decoder against the equations of the papers."""

import copy

import pytest
import torch
from detectron2.layers import ShapeSpec

from cadformer_d2.modeling.decoder import OAD, TCMD, LGCEDecoder, SimpleDecoding, TCMDAsReleased
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.structures import TextFeatures
from equations import formulas
from equations.conftest import same
from equations.test_necks import expected_lgce

C_L, HIDDEN = 12, 8
CHANNELS = (6, 10, 64, 64)  # LGCE's heads have 64 channels
SIZES = ((9, 11), (5, 6), (3, 3), (2, 2))
SHAPE = {f"stage{i + 1}": ShapeSpec(channels=c, stride=4 * 2**i) for i, c in enumerate(CHANNELS)}


def inputs():
    pyramid = {
        f"stage{i + 1}": torch.randn(2, c, *size)
        for i, (c, size) in enumerate(zip(CHANNELS, SIZES, strict=True))
    }
    m = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return pyramid, TextFeatures(torch.randn(2, 6, C_L), m)


def top_down(decoder, pyramid, refine=None):
    """D_4 = F_4; three levels, coarse to fine; a 1x1 convolution (equations 13 to 15)."""
    fine_to_coarse = list(pyramid.values())
    decoded = fine_to_coarse[3]
    for level, fine in enumerate(fine_to_coarse[2::-1]):
        decoded = formulas.decoder_level(decoder.fusions[level], decoded, fine)
        if refine is not None and level < 2:
            decoded = refine(level, decoded)
    return formulas.convolution(decoder.classifier, decoded)


def expected_plain(decoder, pyramid, text):
    return top_down(decoder, pyramid)


def expected_lgce_decoder(decoder, pyramid, text):
    return top_down(decoder, expected_lgce(decoder.enhancement, pyramid, text))


def expected_tcmd(decoder, pyramid, text, m=None):
    words = formulas.linear(decoder.text_projection, text.tokens)
    m = text.is_token if m is None else m

    def refine(level, decoded):
        x = formulas.as_positions(decoded)
        return formulas.as_map(
            formulas.transformer_layer(decoder.text_layers[level], x, words, m), decoded
        )

    return top_down(decoder, pyramid, refine)


def expected_tcmd_as_released(decoder, pyramid, text):
    """Padding is looked at, too."""
    return expected_tcmd(decoder, pyramid, text, torch.ones_like(text.is_token))


TEXT_LAYERS = {"text_dim": C_L, "num_heads": 2, "ffn_dim": 20, "dropout": 0.0}
DECODERS = {
    "SimpleDecoding": (SimpleDecoding, {}, expected_plain),
    "OAD": (OAD, {"num_kernels": 2}, expected_plain),
    "LGCEDecoder": (LGCEDecoder, {"text_dim": C_L}, expected_lgce_decoder),
    "TCMD": (TCMD, {"num_kernels": 2, **TEXT_LAYERS}, expected_tcmd),
    "TCMDAsReleased": (
        TCMDAsReleased,
        {"num_kernels": 2, **TEXT_LAYERS},
        expected_tcmd_as_released,
    ),
}


def test_every_registered_decoder_has_its_equation():
    assert sorted(DECODERS) == registered_names(DECODER_REGISTRY)


def build(name, randomized):
    cls, options, equation = DECODERS[name]
    decoder = randomized(cls(input_shape=SHAPE, hidden_dim=HIDDEN, **options))
    with torch.no_grad():
        for key, parameter in decoder.named_parameters():
            if "_head.weight" in key:  # angles and weights that are far from nothing
                parameter.mul_(5)
    return decoder, equation


# The product turns kernels in float32, whatever the rest is computed in; the equation in float64.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_its_equation(name, randomized):
    decoder, equation = build(name, randomized)
    pyramid, text = inputs()
    with torch.no_grad():
        ours, expected = decoder(pyramid, text), equation(decoder, pyramid, text)
    is_turned = any(hasattr(fuse[3], "router") for fuse in decoder.fusions)
    torch.testing.assert_close(
        ours, expected, **(FLOAT32 if is_turned else {"rtol": 1e-9, "atol": 1e-9})
    )


def test_a_text_as_wide_as_the_decoder_is_not_projected():
    decoder = TCMD(
        input_shape=SHAPE, hidden_dim=HIDDEN, num_kernels=1, **{**TEXT_LAYERS, "text_dim": HIDDEN}
    )
    assert not list(decoder.text_projection.parameters())


def test_a_decoder_in_training_normalises_by_its_batch(randomized):
    """SimpleDecoding's first level with the batch's own statistics."""
    decoder, _ = build("SimpleDecoding", randomized)
    pyramid, text = inputs()
    trained = copy.deepcopy(decoder).train()
    ours = trained(pyramid, text)

    def with_statistics(norm, x):
        centred = x - x.mean(dim=(0, 2, 3), keepdim=True)
        scale = (centred.square().mean(dim=(0, 2, 3), keepdim=True) + 1e-5).sqrt()
        return centred / scale * norm.weight[:, None, None] + norm.bias[:, None, None]

    decoded = list(pyramid.values())[3]
    for fuse, fine in zip(decoder.fusions, list(pyramid.values())[2::-1], strict=True):
        up = formulas.bilinear(decoded, fine.shape[-2:], align_corners=True)
        x = torch.cat([up, fine], dim=1)
        for first in (0, 3):
            x = formulas.relu(
                with_statistics(fuse[first + 1], formulas.convolution(fuse[first], x))
            )
        decoded = x
    same(ours, formulas.convolution(decoder.classifier, decoded))
