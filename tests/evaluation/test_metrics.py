"""Metrics against an example worked out on paper.

Three samples of 2 x 2 pixels:
    A  prediction 1 1 / 0 0   truth 1 0 / 0 0   intersection 1, union 2, IoU 0.5
    B  prediction 1 1 / 1 0   truth 1 1 / 1 0   intersection 3, union 3, IoU 1.0
    C  prediction 0 0 / 0 1   truth 1 1 / 1 0   intersection 0, union 4, IoU 0.0
mIoU = (0.5 + 1 + 0) / 3 = 50 %; oIoU = (1 + 3 + 0) / (2 + 3 + 4) = 44.44 %;
Pr@0.5 = 2 / 3 (0.5 counts), Pr@0.6 .. Pr@0.9 = 1 / 3.
"""

import pytest

from cadformer_d2.evaluation.metrics import (
    SampleScore,
    bootstrap_intervals,
    group_scores,
    summarize,
)


def score(intersection, union, *, sample=0, image=0, **changes):
    values = {
        "image_id": image,
        "ref_id": sample,
        "sent_id": sample,
        "intersection": intersection,
        "union": union,
        "target_area": 3,
        "image_area": 400,
        "num_words": 5,
        "category_id": 0,
        "kind": None,
    }
    return SampleScore(**(values | changes))


EXAMPLE = [score(1, 2), score(3, 3), score(0, 4)]


def test_metrics_are_those_worked_out_by_hand():
    metrics = summarize(EXAMPLE, empty_iou=0.0)
    assert metrics["mIoU"] == pytest.approx(50)
    assert metrics["oIoU"] == pytest.approx(400 / 9)
    assert metrics["Pr@0.5"] == pytest.approx(200 / 3)
    for threshold in (0.6, 0.7, 0.8, 0.9):
        assert metrics[f"Pr@{threshold}"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(("empty_iou", "mean"), [(0.0, 50.0), (1.0, 100.0)])
def test_two_empty_masks_are_worth_what_the_config_says(empty_iou, mean):
    metrics = summarize([score(0, 0), score(3, 3)], empty_iou=empty_iou)
    assert metrics["mIoU"] == pytest.approx(mean)
    assert metrics["oIoU"] == pytest.approx(100)  # an empty union adds nothing to the sums


@pytest.mark.parametrize("empty_iou", [0.0, 1.0])
def test_nothing_but_empty_masks_is_worth_what_the_config_says(empty_iou):
    scores = [score(0, 0), score(0, 0, sample=1)]
    metrics = summarize(scores, empty_iou=empty_iou)
    intervals = bootstrap_intervals(scores, empty_iou=empty_iou)
    assert {*metrics.values(), *intervals.values()} == {100 * empty_iou}


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        summarize([], empty_iou=0.0)


def test_interval_holds_the_metric_and_repeats():
    scores = [score(k % 5, 5, sample=k, image=k) for k in range(200)]
    interval = bootstrap_intervals(scores, empty_iou=0.0)
    assert interval == bootstrap_intervals(scores, empty_iou=0.0)
    assert interval["mIoU_low"] < 40 < interval["mIoU_high"]
    assert 5 < interval["mIoU_high"] - interval["mIoU_low"] < 12  # 2 * 1.96 * 28.3 / sqrt(200)


@pytest.mark.parametrize("scores", [EXAMPLE, [score(1, 1)]])
def test_the_interval_of_one_image_is_the_metric(scores):
    metrics = summarize(scores, empty_iou=0.0)
    intervals = bootstrap_intervals(scores, empty_iou=0.0)
    for name in ("mIoU", "oIoU"):
        expected = pytest.approx(metrics[name])
        assert intervals == intervals | {f"{name}_low": expected, f"{name}_high": expected}


def test_an_interval_of_many_images_is_that_of_the_normal_distribution():
    scores = [score(k % 5, 5, sample=k, image=k) for k in range(200)]
    interval = bootstrap_intervals(scores, empty_iou=0.0)
    for name in ("mIoU", "oIoU"):  # all unions are alike, so both are means of the same numbers
        assert interval[f"{name}_low"] == pytest.approx(40 - 1.96 * 2, abs=0.2)
        assert interval[f"{name}_high"] == pytest.approx(40 + 1.96 * 2, abs=0.2)


def test_sentences_about_one_image_stand_and_fall_together():
    apart = [score(5 * (k % 2), 5, sample=k, image=k) for k in range(100)]
    together = [score(5 * (k % 2), 5, sample=k, image=k % 4) for k in range(100)]
    narrow, wide = (bootstrap_intervals(s, empty_iou=0.0) for s in (apart, together))
    assert wide["mIoU_high"] - wide["mIoU_low"] > 2 * (narrow["mIoU_high"] - narrow["mIoU_low"])


def test_groups_hold_every_sample_once():
    scores = [
        score(1, 2, target_area=3, num_words=5, kind="position"),
        score(1, 2, target_area=5, num_words=6, category_id=1),
        score(1, 2, target_area=100, num_words=30),
    ]
    groups = group_scores(scores, class_names=["pool", "tank"])
    sizes = {grouping: {k: len(v) for k, v in by.items()} for grouping, by in groups.items()}
    assert sizes == {
        "kind": {"position": 1},
        "category": {"pool": 2, "tank": 1},
        "size": {"under_1pct": 1, "1_to_5pct": 1, "over_5pct": 1},
        "length": {"1_to_5_words": 1, "6_to_10_words": 1, "over_20_words": 1},
    }


def test_a_group_holds_its_upper_limit():
    areas = [(k, {"target_area": k}) for k in (4, 5, 20, 21)]  # of 400
    words = [(k, {"num_words": k}) for k in (5, 6, 10, 11, 20, 21)]
    names = {}
    for grouping, cases in (("size", areas), ("length", words)):
        for value, changes in cases:
            groups = group_scores([score(1, 2, **changes)], class_names=["pool"])
            names[grouping, value] = list(groups[grouping])
    assert names == {
        ("size", 4): ["under_1pct"],
        ("size", 5): ["1_to_5pct"],
        ("size", 20): ["1_to_5pct"],
        ("size", 21): ["over_5pct"],
        ("length", 5): ["1_to_5_words"],
        ("length", 6): ["6_to_10_words"],
        ("length", 10): ["6_to_10_words"],
        ("length", 11): ["11_to_20_words"],
        ("length", 20): ["11_to_20_words"],
        ("length", 21): ["over_20_words"],
    }


# Six expressions, worked out on paper. Two have no target: N1 is declared absent, N2 is answered
# with 6 pixels. Four have one: A and B of the example above, D (two targets) with IoU 3 / 4, and E,
# which is declared absent although it has 5 pixels.
#   gIoU = (1 + 0 + 0.5 + 1 + 0.75 + 0) / 6 = 54.17 %
#   cIoU = (1 + 3 + 3) / (6 + 2 + 3 + 4 + 5) = 35 %
#   N-acc 1 / 2; T-acc 3 / 4; with a target only: mIoU = 2.25 / 4 = 56.25 %, Pr@0.7 = 2 / 4
GENERALIZED = [
    score(0, 0, sample=0, target_area=0, num_targets=0, kind="absent"),
    score(0, 6, sample=1, target_area=0, num_targets=0, kind="absent_hard"),
    score(1, 2, sample=2, target_area=1, kind="position"),
    score(3, 3, sample=3, target_area=3, kind="position"),
    score(3, 4, sample=4, target_area=3, num_targets=2, kind="several"),
    score(0, 5, sample=5, target_area=5, kind="position"),
]


@pytest.mark.parametrize("empty_iou", [0.0, 1.0])
def test_expressions_without_a_target_are_scored_as_worked_out_by_hand(empty_iou):
    metrics = summarize(GENERALIZED, empty_iou=empty_iou)
    assert metrics["gIoU"] == pytest.approx(100 * 3.25 / 6)
    assert metrics["cIoU"] == metrics["oIoU"] == pytest.approx(35)
    assert metrics["N-acc"] == pytest.approx(50)
    assert metrics["T-acc"] == pytest.approx(75)
    assert metrics["mIoU"] == pytest.approx(56.25)
    assert metrics["Pr@0.5"] == pytest.approx(75)
    assert metrics["Pr@0.7"] == metrics["Pr@0.6"] == pytest.approx(50)


def test_a_dataset_of_one_target_each_has_no_other_metrics_than_before():
    names = {"mIoU", "oIoU", "Pr@0.5", "Pr@0.6", "Pr@0.7", "Pr@0.8", "Pr@0.9"}
    assert summarize(EXAMPLE, empty_iou=0.0).keys() == names
    assert bootstrap_intervals(EXAMPLE, empty_iou=0.0).keys() == {
        *("mIoU_low", "mIoU_high", "oIoU_low", "oIoU_high")
    }
    assert "targets" not in group_scores(EXAMPLE, class_names=["pool"])


def test_metrics_without_a_sample_are_left_out():
    metrics = summarize(GENERALIZED[:2], empty_iou=0.0)
    assert metrics.keys() == {"oIoU", "gIoU", "cIoU", "N-acc"}
    of_targets = summarize(GENERALIZED[2:], empty_iou=0.0, generalized=True)
    assert "N-acc" not in of_targets and of_targets["T-acc"] == pytest.approx(75)


def test_the_interval_of_the_generalized_mean_is_that_of_its_samples():
    copies = [
        score(
            s.intersection,
            s.union,
            sample=7 * k + s.ref_id,
            image=6 * k + s.ref_id,
            target_area=s.target_area,
            num_targets=s.num_targets,
        )
        for k in range(40)
        for s in GENERALIZED
    ]
    metrics = summarize(copies, empty_iou=0.0)
    intervals = bootstrap_intervals(copies, empty_iou=0.0)
    for name, deviation, number in (("gIoU", 0.4254, 240), ("mIoU", 0.3698, 160)):
        half = 196 * deviation / number**0.5
        assert intervals[f"{name}_low"] == pytest.approx(metrics[name] - half, abs=1)
        assert intervals[f"{name}_high"] == pytest.approx(metrics[name] + half, abs=1)


def test_groups_by_number_of_targets_and_kind():
    groups = group_scores([*GENERALIZED, score(1, 1, category_id=-1)], class_names=["pool"])
    sizes = {grouping: {k: len(v) for k, v in by.items()} for grouping, by in groups.items()}
    assert sizes["targets"] == {"no_target": 2, "one_target": 4, "several_targets": 1}
    assert sizes["kind"] == {"absent": 1, "absent_hard": 1, "position": 3, "several": 1}
    assert sum(sizes["size"].values()) == 5  # what is not there has no size
    assert sizes["category"] == {"pool": 6}  # a file may name none
