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

from cadformer_d2.modeling.criterion import SegmentationCriterion

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
    return SegmentationCriterion(**(values | changes))


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
    losses = SegmentationCriterion(
        ce_weight=1.0, dice_weight=0.0, class_weights=(1, 1), dice_reduction="mean"
    )(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert losses["loss_ce"].item() == pytest.approx(math.log(2))
