"""Where the components meet: whole models compute their equations, on random weights, to 1e-9."""

import pytest
import torch
from conftest import make_sample
from detectron2.modeling import build_model
from torch.nn.utils.rnn import pad_sequence

from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.loss import LOSS_REGISTRY, CrossEntropyDice
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.presence.build import PRESENCE_REGISTRY
from cadformer_d2.modeling.registry import registered_names

from .model import decoded, logits_at_input, loss, probabilities
from .notation import Weights, randomized, sigmoid
from .presence import PRESENCES
from .setting import (
    EXACT,
    assert_equal,
    equation_of,
    in_float64,  # noqa: F401
    normal,
    tiny_cfg,
)

pytestmark = pytest.mark.usefixtures("in_float64")
CHOICES = (
    [("ALIGNMENT", name) for name in registered_names(ALIGNMENT_REGISTRY)]
    + [("NECK", name) for name in registered_names(NECK_REGISTRY)]
    + [("DECODER", name) for name in registered_names(DECODER_REGISTRY)]
    + [("POSITION", "sincos")]
)
FEATURES = {"PWAM": "fused", "IIM": "fused", "SMGAMAsReleased": "fused"}
# The signal's waves are kept in float32; CIM's norms over few values enlarge what rounding leaves.
TOLERANCES = {("POSITION", "sincos"): 1e-5, ("NECK", "CIM"): 1e-8}
SIZE = (70, 93)  # the sides are no multiples of 4, nor the maps' of the window or of 2


def whole_model(cfg):
    # Exact in the float32 in which the model keeps them.
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [120.5, 110.25, 99.0], [58.5, 60.25, 40.0]
    cfg.MODEL.LOSS.CE_WEIGHT, cfg.MODEL.LOSS.DICE_WEIGHT = 0.7, 0.4
    cfg.MODEL.LOSS.CLASS_WEIGHTS = (0.75, 1.25)
    return randomized(build_model(cfg))[0]


def make_batch():
    """Three sentences of which the first and the last are alike, of two lengths."""
    samples = [
        make_sample(seed=seed, size=SIZE, num_tokens=tokens, native_size=size)
        for seed, tokens, size in ((0, 7, (90, 61)), (1, 11, (33, 150)), (2, 7, SIZE))
    ]
    for field in ("input_ids", "is_object", "is_position"):
        samples[2][field] = samples[0][field]
    for sample in samples:
        sample["image"] = sample["image"].double()
    return samples


def padded_fields(batch, cfg, length=None):
    roles = ("is_object", "is_position") if cfg.MODEL.ALIGNMENT.NAME == "FIAM" else ()
    fields = [
        pad_sequence([sample[name] for sample in batch], batch_first=True)
        for name in ("input_ids", "attention_mask", *roles)
    ]
    missing = (length or fields[0].shape[1]) - fields[0].shape[1]
    return [torch.nn.functional.pad(field, (0, missing)) for field in fields]


def expected_logits(model, cfg, batch, length=None):
    images = torch.stack([sample["image"] for sample in batch])
    return logits_at_input(model, cfg, images, padded_fields(batch, cfg, length))


@pytest.mark.parametrize(("role", "name"), CHOICES)
def test_a_model_is_its_equations(role, name):
    cfg = tiny_cfg(**{role: name})
    cfg.MODEL.ALIGNMENT.DECODER_FEATURE = FEATURES.get(name, "gated")
    model, batch = whole_model(cfg), make_batch()
    with torch.no_grad():
        ours = model(batch)
        sizes = [(sample["height"], sample["width"]) for sample in batch]
        expected = probabilities(expected_logits(model, cfg, batch), sizes)
    assert len(ours) == len(expected)
    for mine, theirs in zip(ours, expected, strict=True):
        assert 0.01 < theirs.std() and 0.02 < theirs.mean() < 0.98, "saturated: nothing compared"
        assert_equal(mine["sem_seg"], theirs, tolerance=TOLERANCES.get((role, name), EXACT))


@pytest.mark.parametrize("name", registered_names(PRESENCE_REGISTRY))
def test_a_model_with_presence_is_its_equations_and_blanks_what_is_below_the_threshold(name):
    cfg = tiny_cfg(PRESENCE=name)
    cfg.MODEL.PRESENCE.MIN_AREA = 0.4
    model, batch = whole_model(cfg), make_batch()
    images = torch.stack([sample["image"] for sample in batch])
    with torch.no_grad():
        logits, pyramid, text = decoded(model, cfg, images, padded_fields(batch, cfg))
        w = Weights(model.state_dict()) / "presence"
        presence = sigmoid(equation_of(PRESENCES, name)(w, pyramid, text, logits, min_area=0.4))
        sizes = [(sample["height"], sample["width"]) for sample in batch]
        expected = probabilities(expected_logits(model, cfg, batch), sizes)
        # Between the least and the greatest: one is blank, one is not.
        model.presence_threshold = float(presence.min() + presence.max()) / 2
        ours = model(batch)
    is_present = [bool(value >= model.presence_threshold) for value in presence]
    assert set(is_present) == {True, False}
    for mine, p, value, there in zip(ours, expected, presence, is_present, strict=True):
        assert_equal(mine["presence"], value)
        blank = torch.zeros_like(p)
        blank[0] = 1
        assert_equal(mine["sem_seg"], p if there else blank)


def test_a_fixed_length_pads_as_far_as_it_says():
    cfg = tiny_cfg(ALIGNMENT="SMGAMAsReleased", DECODER="TCMDAsReleased")
    cfg.INPUT.MAX_TOKENS, cfg.INPUT.PAD_TO_MAX_TOKENS = 13, True
    model, batch = whole_model(cfg), make_batch()
    with torch.no_grad():
        logits = expected_logits(model, cfg, batch, 13)
        (expected,) = probabilities(logits[:1], [(90, 61)])
        assert_equal(model(batch)[0]["sem_seg"], expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_training_gives_the_weighted_losses_of_the_models_logits(reduction):
    cfg = tiny_cfg()
    cfg.MODEL.LOSS.DICE_REDUCTION = reduction
    model, batch = whole_model(cfg), make_batch()
    expected = loss(
        expected_logits(model, cfg, batch),
        torch.stack([sample["gt_mask"] for sample in batch]),
        ce_weight=0.7,
        dice_weight=0.4,
        class_weights=(0.75, 1.25),
        dice_sums=reduction == "sum",
    )
    model.training = True  # the parts stay as in evaluation: no dropout, running statistics
    ours = model(batch)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert_equal(ours[name], value)


def test_every_registered_loss_has_its_equation_here():
    assert registered_names(LOSS_REGISTRY) == ["CrossEntropyDice"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_its_equation(reduction):
    criterion = CrossEntropyDice(
        ce_weight=0.7, dice_weight=0.4, class_weights=(0.75, 1.25), dice_reduction=reduction
    ).double()
    # Images so small, one of them without a target, that Dice's smoothing shows.
    logits, target = normal(3, 2, 2, 3), normal(3, 2, 3, seed=1) > 0
    target[1] = False
    expected = loss(
        logits,
        target,
        ce_weight=0.7,
        dice_weight=0.4,
        class_weights=(0.75, 1.25),
        dice_sums=reduction == "sum",
    )
    for name, value in criterion(logits, target).items():
        assert_equal(value, expected[name])
