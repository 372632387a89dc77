"""The loss against an example worked out on paper.

Two by two pixels; p is the probability of the target, y the truth:

    p = [[0.8, 0.5],    y = [[1, 0],
         [0.2, 0.4]]         [0, 1]]

Cross-entropy with weights (0.9, 1.1): the weights of the four pixels are 1.1, 0.9, 0.9, 1.1, sum
4.0; -log p_y is -log 0.8, -log 0.5, -log 0.8, -log 0.4:
    (1.1 * 0.223144 + 0.9 * 0.693147 + 0.9 * 0.223144 + 1.1 * 0.916291) / 4 = 0.519510
(0.513932 without the weights).
Dice, target class: overlap 0.8 + 0.4 = 1.2, sums 1.9 + 2 = 3.9: 1 - 2.4 / 3.9 = 0.384615.
Background class: overlap 0.5 + 0.8 = 1.3, sums 2.1 + 2 = 4.1: 1 - 2.6 / 4.1 = 0.365854. Together
0.750469.
"""

import math

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model

from cadformer_d2.modeling.loss import LOSS_REGISTRY, CrossEntropyDice, build_loss
from cadformer_d2.modeling.registry import registered_names

every_loss = pytest.mark.parametrize("name", registered_names(LOSS_REGISTRY))
PROBABILITY = torch.tensor([[0.8, 0.5], [0.2, 0.4]])
TARGET = torch.tensor([[True, False], [False, True]])
CROSS_ENTROPY, DICE = 0.519510, 0.750469


def criterion(**changes):
    values = {
        "ce_weight": 0.9,
        "dice_weight": 0.1,
        "class_weights": (0.9, 1.1),
        "dice_reduction": "mean",
    }
    return CrossEntropyDice(**(values | changes))


def logits_of(probability):
    return torch.stack([(1 - probability).log(), probability.log()])[None]


def test_terms_are_those_worked_out_by_hand():
    losses = criterion()(logits_of(PROBABILITY), TARGET[None])
    assert losses["loss_ce"].item() == pytest.approx(0.9 * CROSS_ENTROPY, abs=1e-5)
    assert losses["loss_dice"].item() == pytest.approx(0.1 * DICE, abs=1e-5)
    assert sum(losses.values()).item() == pytest.approx(0.542606, abs=1e-5)


def test_class_weights_weigh_the_mean_and_not_only_the_sum():
    # All pixels alike: whatever the weights, the weighted mean is -log 0.5.
    loss = criterion(ce_weight=1.0)(logits_of(torch.full((2, 2), 0.5)), TARGET[None])["loss_ce"]
    assert loss.item() == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1), ("sum", 3)])
def test_dice_reduction_over_the_batch(reduction, factor):
    logits = logits_of(PROBABILITY).expand(3, -1, -1, -1)
    losses = criterion(dice_reduction=reduction)(logits, TARGET.expand(3, -1, -1))
    assert losses["loss_dice"].item() == pytest.approx(0.1 * DICE * factor, abs=1e-5)


def test_a_perfect_prediction_costs_nothing():
    losses = criterion()(logits_of(TARGET.float().clamp(1e-7, 1 - 1e-7)), TARGET[None])
    assert sum(losses.values()).item() == pytest.approx(0, abs=1e-5)


def test_an_unknown_reduction_is_refused_by_name():
    with pytest.raises(ValueError, match="DICE_REDUCTION is 'maen'; known: mean, sum"):
        criterion(dice_reduction="maen")


def test_whole_numbers_can_be_class_weights():
    losses = CrossEntropyDice(
        ce_weight=1.0, dice_weight=0.0, class_weights=(1, 1), dice_reduction="mean"
    )(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert losses["loss_ce"].item() == pytest.approx(math.log(2))


def registered_loss(name):
    cfg = make_tiny_cfg()
    cfg.MODEL.LOSS.NAME = name
    return build_loss(cfg)


@every_loss
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0], ids=["empty", "usual", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_loss_keeps_the_contract(name, share, dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 2, 9, 14, generator=generator)
    logits = (20 * values).to(dtype).requires_grad_()
    target = torch.rand(3, 9, 14, generator=generator) < share
    before = logits.detach().clone(), target.clone()
    losses = registered_loss(name)(logits, target)
    assert losses and all(key.startswith("loss") for key in losses)
    for value in losses.values():
        assert value.shape == () and value.dtype == torch.float32 and value >= 0
    sum(losses.values()).backward()
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0
    assert torch.equal(logits.detach(), before[0]) and torch.equal(target, before[1])


@every_loss
def test_a_better_prediction_costs_less(name):
    target = torch.zeros(2, 8, 8, dtype=torch.bool)
    target[:, 2:5, 3:7] = True
    sure = torch.where(target, 4.0, -4.0)
    costs = [
        sum(registered_loss(name)(torch.stack([-guess, guess], 1), target).values()).item()
        for guess in (sure, sure / 4, 0 * sure, -sure / 4, -sure)
    ]
    assert costs == sorted(costs) and costs[0] < 0.1 * costs[2]


@every_loss
def test_a_model_trains_on_it(name):
    cfg = make_tiny_cfg()
    cfg.MODEL.LOSS.NAME = name
    model = build_model(cfg).train()
    sum(model([make_sample(seed=0)]).values()).backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match="LOSS.NAME is 'Dise'; known names: CrossEntropyDice"):
        registered_loss("Dise")


@pytest.mark.parametrize("fill", [1e-7, 0.01, 0.3, 0.9])
def test_an_empty_target_costs_what_the_answer_covers(fill):
    """P / (2 N - P), by hand in float64; a plain Dice of the target's class would be 1 for all."""
    p = torch.full((5, 4), fill, dtype=torch.float64)
    p[2, 1] = min(1.0, 1.1 * fill)
    area, total = 20, float(p.sum())
    logits = logits_of(p).float().requires_grad_()
    losses = criterion(dice_weight=1.0, ce_weight=1.0)(logits, torch.zeros(1, 5, 4).bool())
    assert losses["loss_dice"].item() == pytest.approx(total / (2 * area - total), abs=2e-6)
    # The class weights cancel out.
    assert losses["loss_ce"].item() == pytest.approx(float(-(1 - p).log().mean()), abs=2e-6)
    losses["loss_dice"].backward()
    # d/dp of P / (2 N - P) is 2 N / (2 N - P)^2, and dp/dz = p (1 - p): no slope of 1 / smoothing.
    slope = 2 * area / (2 * area - total) ** 2 * p * (1 - p)
    torch.testing.assert_close(logits.grad[0, 1].double(), slope, rtol=1e-3, atol=1e-8)


def test_empty_targets_are_left_out_of_their_sample_only():
    logits = logits_of(PROBABILITY).expand(2, -1, -1, -1)
    target = torch.stack([TARGET, torch.zeros_like(TARGET)])
    total = float(PROBABILITY.sum())
    expected = (DICE + total / (8 - total)) / 2
    assert criterion()(logits, target)["loss_dice"].item() == pytest.approx(
        0.1 * expected, abs=1e-5
    )
