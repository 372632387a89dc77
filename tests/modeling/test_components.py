"""Laws that hold for every registered component, checked in a whole model around it."""

import functools
import itertools

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.presence.build import PRESENCE_REGISTRY
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.structures import TextFeatures

# Each component once, the rest as in the paper.
CHOICES = (
    [("ALIGNMENT", name) for name in registered_names(ALIGNMENT_REGISTRY)]
    + [("NECK", name) for name in registered_names(NECK_REGISTRY)]
    + [("DECODER", name) for name in registered_names(DECODER_REGISTRY)]
    + [("PRESENCE", name) for name in registered_names(PRESENCE_REGISTRY)]
    + [("POSITION", "sincos")]
)
every_component = pytest.mark.parametrize(("role", "name"), CHOICES)


def build(role, name):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    cfg.MODEL[role].NAME = name
    cfg.MODEL.PRESENCE.THRESHOLD = (
        0.0  # no answer is blank; tests/modeling/test_presence.py has those
    )
    return build_model(cfg)


@functools.cache
def evaluated(role, name):
    """One model for all tests that only ask it."""
    return build(role, name).eval()


def predict(model, *samples):
    with torch.no_grad():
        return [output["sem_seg"] for output in model(list(samples))]


@every_component
def test_every_parameter_receives_a_gradient(role, name):
    model = build(role, name)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


# What the released code gets wrong, kept for whoever repeats its numbers.
DEPENDS_ON_PADDING = (("ALIGNMENT", "SMGAMAsReleased"), ("DECODER", "TCMDAsReleased"))


@pytest.mark.parametrize(("role", "name"), [c for c in CHOICES if c not in DEPENDS_ON_PADDING])
def test_padding_does_not_change_the_output(role, name):
    model = evaluated(role, name)
    sample, longer = make_sample(seed=0), make_sample(seed=1, num_tokens=25)
    (alone,), (padded, _) = predict(model, sample), predict(model, sample, longer)
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


def test_the_released_decoder_takes_padding_for_words():
    model = evaluated("DECODER", "TCMDAsReleased")
    sample, longer = make_sample(seed=0), make_sample(seed=1, num_tokens=25)
    (alone,), (padded, _) = predict(model, sample), predict(model, sample, longer)
    assert (padded - alone).abs().max() > 1e-4


@every_component
def test_a_sample_gives_the_same_result_alone_and_in_a_batch(role, name):
    model = evaluated(role, name)
    samples = [make_sample(seed=seed) for seed in range(3)]
    together = predict(model, *samples)
    for sample, expected in zip(samples, together, strict=True):
        torch.testing.assert_close(predict(model, sample)[0], expected, atol=1e-5, rtol=1e-4)


@every_component
def test_accepts_sizes_that_are_not_multiples_of_the_window(role, name):
    sample = make_sample(size=(81, 133), native_size=(481, 733), is_train=False)
    (probability,) = predict(evaluated(role, name), sample)
    assert probability.shape == (2, 481, 733)
    torch.testing.assert_close(probability.sum(0), torch.ones(481, 733))


@every_component
def test_one_word_between_its_special_tokens_is_enough(role, name):
    (probability,) = predict(evaluated(role, name), make_sample(num_tokens=3))
    assert probability.isfinite().all()


class ScatteredRows(TorchDispatchMode):
    """Shapes of the linear maps' inputs within the context whose rows do not lie side by side."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.linear.default and not args[0].is_contiguous():
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


@every_component
def test_a_linear_map_is_one_product_for_all_samples_and_positions(role, name):
    # In inference mode PyTorch makes a product for each of scattered rows, in bfloat16 with a copy
    # of the weights for each: gigabytes at full size.
    model = evaluated(role, name)
    with torch.inference_mode(), ScatteredRows() as scattered:
        model([make_sample(seed=0), make_sample(seed=1)])
    assert scattered.shapes == []


@every_component
def test_evaluating_twice_is_bit_identical(role, name):
    model = evaluated(role, name)
    samples = [make_sample(seed=0), make_sample(seed=1, num_tokens=9)]
    first, second = predict(model, *samples), predict(model, *samples)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@every_component
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_gives_nearly_the_same_probabilities(role, name, how):
    model, sample = build(role, name).eval(), make_sample(is_train=False)
    (expected,) = predict(model, sample)
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        (rounded,) = predict(model.to(torch.bfloat16) if how == "weights" else model, sample)
    assert 0 < (rounded - expected).abs().max() < 0.05


@every_component
def test_the_sentence_changes_the_prediction(role, name):
    model = evaluated(role, name)
    sample = make_sample(seed=0)
    other = dict(sample, input_ids=make_sample(seed=1)["input_ids"])
    assert not torch.allclose(predict(model, sample)[0], predict(model, other)[0], atol=1e-7)


@pytest.mark.parametrize("role", ["ALIGNMENT", "NECK", "DECODER", "PRESENCE", "TEXT_ENCODER"])
def test_a_misspelt_name_lists_the_right_ones(role):
    with pytest.raises(ValueError, match=f"MODEL.{role}.NAME is 'SMGMA'; known names: "):
        build(role, "SMGMA")


def test_a_misspelt_position_lists_the_right_ones():
    with pytest.raises(ValueError, match="MODEL.POSITION.NAME is 'sine'; known names: none, sin"):
        build("POSITION", "sine")


COMBINATIONS = [
    combination
    for combination in itertools.product(
        registered_names(ALIGNMENT_REGISTRY),
        ["", *registered_names(NECK_REGISTRY)],
        registered_names(DECODER_REGISTRY),
    )
    if combination[1:] != ("LGCE", "LGCEDecoder")  # refused
]


def covering(combinations):
    """Few of the combinations, among which every two names meet that meet in any.

    Components meet in pairs: an alignment and a neck in the channels between them, a neck and a
    decoder likewise, an alignment and a decoder in the text.
    """

    def pairs(combination):
        return set(itertools.combinations(enumerate(combination), 2))

    missing = set().union(*map(pairs, combinations))
    chosen = []
    while missing:
        chosen.append(max(combinations, key=lambda one: len(missing & pairs(one))))
        missing -= pairs(chosen[-1])
    return chosen


@pytest.mark.parametrize(("alignment", "neck", "decoder"), covering(COMBINATIONS))
def test_any_alignment_neck_and_decoder_train_together(alignment, neck, decoder):
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NAME, cfg.MODEL.NECK.NAME, cfg.MODEL.DECODER.NAME = (
        alignment,
        neck,
        decoder,
    )
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_a_neck_that_the_decoder_holds_already_is_refused(tiny_cfg):
    tiny_cfg.MODEL.NECK.NAME, tiny_cfg.MODEL.DECODER.NAME = "LGCE", "LGCEDecoder"
    with pytest.raises(ValueError, match="already holds MODEL.NECK.NAME LGCE"):
        build_model(tiny_cfg)


def test_the_released_alignment_shows_words_the_image_only_through_padding():
    attention = build("ALIGNMENT", "SMGAMAsReleased").backbone.alignments[0].vglva.attention
    words = torch.randn(1, 5, attention.query.in_features)
    visual = torch.randn(1, 30, attention.key.in_features)
    alone = attention(TextFeatures(words, torch.ones(1, 5, dtype=torch.bool)), visual)
    assert alone.abs().max() < 1e-3
    is_token = torch.arange(9)[None] < 5
    padded = attention(TextFeatures(functional.pad(words, (0, 0, 0, 4)), is_token), visual)
    assert padded[:, :5].abs().max() > 0.1
    torch.testing.assert_close(padded[:, 1:5], padded[:, :1].expand(-1, 4, -1))
