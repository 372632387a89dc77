import csv

import numpy as np
import pytest
from oracle import blob

from cadformer_d2.dataset_building.consensus import (
    FINAL,
    find_consensus,
    format_agreement,
    vote,
    write_disputes,
)
from cadformer_d2.dataset_building.images import decode_mask, encode_mask, mask_iou
from cadformer_d2.dataset_building.triplets import Target
from cadformer_d2.dataset_building.workspace import Decision

ANNOTATORS = ("anna", "ben", "cleo")


def noisy(truth, share, rng):
    """The truth with a share of its pixels, drawn anew for each annotator, wrong."""
    return truth ^ (rng.random(truth.shape) < share)


@pytest.fixture(scope="module")
def simulated():
    """Three annotators of 20 targets, each with 4 % of the pixels wrong at random."""
    rng = np.random.default_rng(0)
    truth = {number: blob(number) for number in range(1, 21)}
    decisions = {
        name: {
            number: Decision("edited", encode_mask(noisy(mask, 0.04, rng)))
            for number, mask in truth.items()
        }
        for name in ANNOTATORS
    }
    return truth, decisions


def test_the_majority_is_nearer_to_the_truth_than_any_annotator(simulated):
    truth, decisions = simulated
    found = find_consensus(decisions, least_agreement=0.5)
    voted = [mask_iou(decode_mask(found[key].mask), mask) for key, mask in truth.items()]
    for name in ANNOTATORS:
        alone = [
            mask_iou(decode_mask(decisions[name][key].mask), mask) for key, mask in truth.items()
        ]
        assert np.mean(voted) > np.mean(alone) + 0.05
    # Two of three are wrong at once in 3 * 0.04^2 * 0.96 + 0.04^3 = 0.47 % of the pixels.
    wrong = np.mean([decode_mask(found[key].mask) ^ mask for key, mask in truth.items()])
    assert wrong == pytest.approx(0.0047, abs=0.001)
    assert {(entry.made_by, entry.annotators) for entry in found.values()} == {
        ("consensus", ANNOTATORS)
    }


def test_the_agreement_table_has_every_pair_with_its_iou(simulated):
    _, decisions = simulated
    rows = format_agreement(decisions).splitlines()[2:]
    assert len(rows) == 3
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2:4] == ["20", "20"]
        # Half of the pixels are the object's; a pair differs in 2 * 0.04 * 0.96 of them.
        assert float(cells[4]) == pytest.approx((0.5 - 0.0384) / (0.5 + 0.0384), abs=0.01)


def test_far_masks_are_a_dispute_until_a_final_decision():
    left, right = np.zeros((10, 20), bool), np.zeros((10, 20), bool)
    left[:, :12], right[:, 8:] = True, True
    decisions = {
        "anna": {1: Decision("edited", encode_mask(left))},
        "ben": {1: Decision("accepted", encode_mask(right))},
    }
    found = find_consensus(decisions, least_agreement=0.8)[1]
    assert found.is_disputed and found.least_agreement == pytest.approx(0.2)
    decisions[FINAL] = {1: Decision("edited", encode_mask(left))}
    settled = find_consensus(decisions, least_agreement=0.8)[1]
    assert not settled.is_disputed and settled.made_by == "final"
    np.testing.assert_array_equal(decode_mask(settled.mask), left)


def test_masks_of_two_sizes_for_one_target_are_named():
    decisions = {
        "anna": {5: Decision("accepted", encode_mask(np.ones((10, 20), bool)))},
        "ben": {5: Decision("rejected", None)},
        "cleo": {5: Decision("edited", encode_mask(np.ones((5, 10), bool)))},
    }
    with pytest.raises(ValueError, match="target 5 has .*anna's 10 x 20, cleo's 5 x 10"):
        find_consensus(decisions, least_agreement=0.8)


@pytest.mark.parametrize(("rejections", "is_rejected"), [(1, False), (2, True), (3, True)])
def test_rejections_are_votes_and_a_mixed_vote_is_a_dispute(rejections, is_rejected):
    given = [Decision("rejected", None)] * rejections
    given += [Decision("accepted", encode_mask(blob(0)))] * (3 - rejections)
    decisions = {name: {1: one} for name, one in zip(ANNOTATORS, given, strict=True)}
    found = find_consensus(decisions, least_agreement=0.8)[1]
    assert (found.mask is None) == is_rejected
    assert found.is_disputed == (rejections < 3)


@pytest.mark.parametrize(("verdict", "made_by"), [("accepted", "segmenter"), ("edited", "edited")])
def test_a_single_annotators_word_counts_and_says_who_made_the_mask(verdict, made_by):
    decisions = {"anna": {1: Decision(verdict, encode_mask(blob(0)))}}
    found = find_consensus(decisions, least_agreement=0.8)[1]
    assert (found.made_by, found.is_disputed) == (made_by, False)


def test_a_pixel_needs_more_than_half_of_the_votes():
    masks = [np.array([[votes > index for votes in range(5)]]) for index in range(4)]
    np.testing.assert_array_equal(vote(masks), [[False, False, False, True, True]])


def test_disputes_are_listed_for_a_final_decision_the_least_agreement_first(tmp_path):
    whole, half = np.ones((10, 20), bool), np.ones((10, 20), bool)
    half[:, 10:] = False
    given = {
        "anna": {key: Decision("accepted", encode_mask(whole)) for key in (1, 2, 3)},
        "ben": {
            1: Decision("accepted", encode_mask(whole)),
            2: Decision("edited", encode_mask(half)),
            3: Decision("edited", encode_mask(half & (np.arange(20) < 5))),
        },
    }
    targets = [Target(key, f"{key}.jpg", (0, 0, 9, 9), "pool", "", ("=1+1",)) for key in (1, 2, 3)]
    path = tmp_path / "disputes.csv"
    found = find_consensus(given, least_agreement=0.8)
    assert write_disputes(path, found, given, targets) == 2
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["target_id"], row["least_iou"]) for row in rows] == [
        ("3", "0.250"),
        ("2", "0.500"),
    ]
    assert rows[0]["verdicts"] == "anna: accepted, ben: edited"
    assert rows[0]["sentences"] == "'=1+1"  # which no spreadsheet takes for a formula
