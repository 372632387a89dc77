"""Every alignment against the equations of the papers."""

import pytest
import torch

from cadformer_d2.modeling.alignment import FIAM, IIM, PWAM, SMGAM, SMGAMAsReleased
from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.structures import TextFeatures
from equations import formulas
from equations.conftest import same

C, C_L, HEADS, SIZE = 16, 12, 2, (3, 5)
N = SIZE[0] * SIZE[1]


def words(seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, 6, C_L, generator=generator, dtype=torch.float64)
    is_token = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    return tokens, is_token


def inputs():
    """V, what the stage was given, L with words for object and place, and the raw parts of L."""
    (tokens, m), (objects, m_o), (places, m_p) = words(1), words(2), words(3)
    text = TextFeatures(tokens, m, TextFeatures(objects, m_o), TextFeatures(places, m_p))
    return torch.randn(2, N, C), torch.randn(2, N, C), text


def pwam(layer, v, text, feeds_next):
    """F and gate(F) * F (baselines 2.1)."""
    fused = formulas.lgvla(layer.lgvla, v, text.tokens, text.is_token, HEADS)
    return fused, formulas.gate(layer.visual_gate, fused) * fused if layer.visual_gate else None


def expected_pwam(layer, v, x, text):
    fused, gated = pwam(layer, v, text, True)
    return fused, gated, gated, text.tokens


def expected_smgam(layer, v, x, text):
    """Equation 12: L_{i+1} = L_i + gate(R) * R, R = VGLVA(L_i, V_i)."""
    fused, gated = pwam(layer, v, text, True)
    r = formulas.vglva(layer.vglva, text.tokens, v, HEADS)
    return fused, gated, gated, text.tokens + formulas.gate(layer.text_gate, r) * r


def expected_smgam_as_released(layer, v, x, text):
    fused, gated = pwam(layer, v, text, True)
    r = formulas.vglva_as_released(layer.vglva, text.tokens, text.is_token, x, HEADS)
    return fused, gated, gated, text.tokens + formulas.gate(layer.text_gate, r) * r


def expected_iim(layer, v, x, text):
    """baselines 4.1: D = g(F) F + g_v(Q) Q, Q = V sigmoid(R_2(relu(R_1(mean of V))))."""
    fused, gated = pwam(layer, v, text, True)
    a = v.mean(dim=-1).reshape(2, 1, *SIZE)

    def block(parts, a):
        conv, norm = formulas.convolution, formulas.batch_norm
        wide = norm(parts.wide[1], conv(parts.wide[0], a))
        wide = norm(parts.wide[3], conv(parts.wide[2], wide))
        return norm(parts.point[1], conv(parts.point[0], a)) + wide + norm(parts.identity, a)

    weight = formulas.sigmoid(
        block(layer.branch.second, formulas.relu(block(layer.branch.first, a)))
    )
    q = v * weight.reshape(2, N, 1)
    return fused, gated, gated + formulas.gate(layer.branch_gate, q) * q, text.tokens


def expected_fiam(layer, v, x, text):
    """baselines 5.3: D = k * (c + s * o^); F alone to the decoder."""
    fused, gated = pwam(layer, v, text, True)
    objects, places, branch = text.object_words, text.position_words, layer.branch
    o = formulas.pixel_word_attention(
        branch.object_attention, v, objects.tokens, objects.is_token, HEADS
    )
    o = formulas.gate(branch.object_gate, o) * o
    p = formulas.pixel_word_attention(
        branch.position_attention, v, places.tokens, places.is_token, HEADS
    )
    q = torch.stack([p.mean(dim=-1), p.max(dim=-1).values], dim=1).reshape(2, 2, *SIZE)
    s = formulas.sigmoid(formulas.convolution(branch.place, q)).reshape(2, N, 1)
    weigh = layer.modulation.weigh
    hidden = formulas.relu(formulas.linear(weigh[0], v.mean(dim=1, keepdim=True)))
    k = formulas.sigmoid(formulas.linear(weigh[2], hidden))
    return fused, gated, k * (gated + s * o), text.tokens


EQUATIONS = {
    "PWAM": (PWAM, expected_pwam),
    "SMGAM": (SMGAM, expected_smgam),
    "SMGAMAsReleased": (SMGAMAsReleased, expected_smgam_as_released),
    "IIM": (IIM, expected_iim),
    "FIAM": (FIAM, expected_fiam),
}


def build(name, randomized, *, feature, updates_visual=True, updates_text=True):
    cls, _ = EQUATIONS[name]
    options = {"updates_text": updates_text} if issubclass(cls, SMGAM) else {}
    return randomized(
        cls(
            visual_dim=C,
            text_dim=C_L,
            num_heads=HEADS,
            dropout=0.0,
            updates_visual=updates_visual,
            decoder_feature=feature,
            **options,
        )
    )


def call(layer, v, x, text):
    extra = {"stage_input": x} if layer.reads_stage_input else {}
    return layer(v, text, SIZE, **extra)


def test_every_registered_alignment_has_its_equation():
    assert sorted(EQUATIONS) == registered_names(ALIGNMENT_REGISTRY)


@pytest.mark.parametrize("feature", ["fused", "gated"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_an_alignment_is_its_equation(name, feature, randomized):
    layer = build(name, randomized, feature=feature)
    v, x, text = inputs()
    ours = call(layer, v, x, text)
    fused, gated, update, tokens = EQUATIONS[name][1](layer, v, x, text)
    same(ours.fused, {"fused": fused, "gated": gated}[feature])
    same(ours.visual_update, update)
    same(ours.text.tokens, tokens)
    assert torch.equal(ours.text.is_token, text.is_token)


@pytest.mark.parametrize("feature", ["fused", "gated"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_the_last_stage_hands_over_the_same_feature_and_updates_nothing(name, feature, randomized):
    layer = build(name, randomized, feature=feature, updates_visual=False, updates_text=False)
    v, x, text = inputs()
    ours = call(layer, v, x, text)
    fused, gated = pwam(layer, v, text, False)
    same(ours.fused, {"fused": fused, "gated": gated}[feature])
    assert ours.visual_update is None and torch.equal(ours.text.tokens, text.tokens)


def test_a_sentence_of_no_word_of_a_role_has_nothing_to_say(randomized):
    layer = build("FIAM", randomized, feature="fused").branch.object_attention
    v, _, text = inputs()
    nobody = TextFeatures(text.tokens, torch.zeros_like(text.is_token))
    ours = layer(v, nobody)
    # A constant over the positions, which the norm removes.
    same(ours, torch.zeros_like(ours))
