import json

import numpy as np
import pytest
import torch
from conftest import run_in_two_processes
from pycocotools import mask as coco_mask

from cadformer_d2.evaluation import ReferringSegmentationEvaluator
from cadformer_d2.evaluation.comparison import SampleIous
from cadformer_d2.evaluation.comparison_table import MethodResult, group_rows, main_rows
from cadformer_d2.evaluation.metrics import METRICS, Metric


def masks(sample):
    rng = np.random.default_rng(sample)
    return rng.random((9, 11)) > 0.5, rng.random((9, 11)) > 0.4


def make_input(sample, truth):
    return {
        "file_name": f"{sample}.jpg",
        "image_id": sample,
        "ref_id": sample,
        "sent_id": 10 + sample,
        "category_id": 0,
        "expression": "the pool",
        "sentence_kind": "category",
        "gt_rle": coco_mask.encode(np.asfortranarray(truth.astype(np.uint8))),
    }


def make_output(predicted):
    target = torch.from_numpy(predicted).float()
    return {"sem_seg": torch.stack([1 - target, target])}


def evaluator(output_dir=None):
    return ReferringSegmentationEvaluator(
        dataset_name="pools",
        class_names=["pool"],
        output_dir=output_dir,
        empty_iou=0.0,
        eval_resolution="input",
    )


def scored(evaluator, samples):
    evaluator.reset()
    for sample in samples:
        truth, predicted = masks(sample)
        evaluator.process([make_input(sample, truth)], [make_output(predicted)])
    return evaluator.evaluate()


def test_counts_are_those_of_the_dense_masks():
    metrics = scored(evaluator(), range(5))["referring_seg"]
    pairs = [masks(sample) for sample in range(5)]
    intersections = np.array([(t & p).sum() for t, p in pairs])
    unions = np.array([(t | p).sum() for t, p in pairs])
    assert metrics["mIoU"] == pytest.approx(100 * (intersections / unions).mean())
    assert metrics["oIoU"] == pytest.approx(100 * intersections.sum() / unions.sum())
    assert metrics["mIoU_category"] == pytest.approx(metrics["mIoU"])
    assert metrics["num_samples"] == 5


def test_a_metric_is_one_entry_of_one_list(tmp_path, monkeypatch, caplog):
    ours = Metric("missed", lambda s: (s.intersection == 0, s.ones), has_interval=True)
    monkeypatch.setattr("cadformer_d2.evaluation.metrics.METRICS", (*METRICS, ours))
    caplog.set_level("INFO")
    scorer = evaluator(tmp_path)
    scorer.reset()
    for sample in range(4):
        truth, predicted = masks(sample)
        hit = predicted if sample else np.zeros_like(predicted)
        scorer.process([make_input(sample, truth)], [make_output(hit)])
    result = scorer.evaluate()["referring_seg"]
    assert result["missed"] == 25 and result["missed_low"] == 0 < result["missed_high"] <= 100
    saved = json.loads((tmp_path / "metrics_pools.json").read_text())
    assert saved["missed"] == 25 and saved["groups"]["category"]["pool"]["missed"] == 25
    heads = [line for line in caplog.text.splitlines() if "mIoU" in line and "interval" not in line]
    assert len(heads) > 2 and all("missed" in line for line in heads)
    assert "missed 0.00 - " in caplog.text
    samples = SampleIous([(k, k) for k in range(4)], np.arange(4), np.full(4, 0.5))
    (row,) = main_rows([MethodResult("own", [saved], [samples], {}, {}, {})])
    assert row["missed"] == "25.00"
    saved.pop("missed")  # scored before there was such a metric
    (row,) = main_rows([MethodResult("own", [saved], [samples], {}, {}, {})])
    assert "missed" not in row


def score_generalized(scorer):
    """Nothing asked and nothing found, nothing asked and something found, two targets missed."""
    scorer.reset()
    empty, full = np.zeros((9, 11), bool), np.ones((9, 11), bool)
    for sample, truth, answer, number, kind in (
        (0, empty, empty, 0, "absent"),
        (1, empty, full, 0, "absent_hard"),
        (2, full, empty, 2, "several"),
        (3, full, full, 1, "category"),
    ):
        fields = {"num_targets": number, "sentence_kind": kind}
        scorer.process([{**make_input(sample, truth), **fields}], [make_output(answer)])
    return scorer.evaluate()["referring_seg"]


def test_absent_answers_are_scored_logged_and_written(tmp_path, caplog):
    caplog.set_level("INFO")
    metrics = score_generalized(evaluator(tmp_path))
    assert metrics["gIoU"] == metrics["N-acc"] == metrics["T-acc"] == metrics["mIoU"] == 50
    assert metrics["cIoU"] == pytest.approx(100 / 3)
    assert metrics["N-acc_absent"] == 100 and metrics["N-acc_absent_hard"] == 0
    assert metrics["mIoU_several"] == 0 and metrics["mIoU_category"] == 100
    assert "mIoU_absent" not in metrics
    assert "by targets" in caplog.text and "several_targets" in caplog.text
    saved = json.loads((tmp_path / "metrics_pools.json").read_text())
    assert saved["groups"]["targets"]["no_target"]["N-acc"] == 50
    predictions = json.loads((tmp_path / "predictions_pools.json").read_text())["samples"]
    assert [sample["iou"] for sample in predictions] == [1, 0, 0, 1]
    assert [sample["num_targets"] for sample in predictions] == [0, 0, 2, 1]


def test_a_comparison_of_such_answers_is_by_their_mean(tmp_path):
    score_generalized(evaluator(tmp_path))
    saved = json.loads((tmp_path / "metrics_pools.json").read_text())
    samples = SampleIous([(k, k) for k in range(4)], np.arange(4), np.array([1.0, 0, 0, 1]))
    results = [MethodResult("own", [saved], [samples], {}, {}, {})]
    (row,) = main_rows(results)
    assert row["gIoU"] == row["N-acc"] == row["T-acc"] == "50.00"
    assert "gIoU 95 %" in row and "mIoU 95 %" not in row
    (row,) = group_rows(results)
    assert row["no_target"] == "50.00" and row["absent_hard"] == "0.00"
    assert row["several_targets"] == "0.00"


def test_datasets_of_one_target_print_what_they_did(caplog):
    caplog.set_level("INFO")
    metrics = scored(evaluator(), range(3))["referring_seg"]
    assert not any(name.split("_")[0] in ("gIoU", "cIoU", "N-acc", "T-acc") for name in metrics)
    assert "gIoU" not in caplog.text and "targets" not in caplog.text


def test_predicting_the_truth_scores_100_and_nothing_scores_0():
    for invert, expected in ((False, 100), (True, 0)):
        scorer = evaluator()
        scorer.reset()
        for sample in range(3):
            truth, _ = masks(sample)
            predicted = np.zeros_like(truth) if invert else truth
            scorer.process([make_input(sample, truth)], [make_output(predicted)])
        metrics = scorer.evaluate()["referring_seg"]
        assert metrics["mIoU"] == metrics["oIoU"] == metrics["Pr@0.9"] == expected


def test_a_sample_scored_twice_counts_once():
    assert scored(evaluator(), [0, 1, 1, 1]) == scored(evaluator(), [0, 1])


def test_another_size_is_named():
    truth, _ = masks(0)
    with pytest.raises(
        ValueError, match=r"0\.jpg \(ref 0\): the prediction is \[4, 4\].*\[9, 11\]"
    ):
        evaluator().process([make_input(0, truth)], [make_output(np.zeros((4, 4), bool))])


def test_evaluating_nothing_is_an_error():
    with pytest.raises(ValueError, match="pools: no sample was evaluated"):
        scored(evaluator(), [])


def test_every_prediction_is_on_disk(tmp_path):
    scored(evaluator(tmp_path), range(3))
    saved = json.loads((tmp_path / "predictions_pools.json").read_text())
    assert saved["dataset"] == "pools" and len(saved["samples"]) == 3
    truth, predicted = masks(1)
    sample = saved["samples"][1]
    np.testing.assert_array_equal(coco_mask.decode(sample["prediction"]), predicted)
    assert sample["iou"] == pytest.approx((truth & predicted).sum() / (truth | predicted).sum())
    assert not list(tmp_path.glob("*.tmp"))


def score_share(folder):
    from detectron2.utils import comm

    rank = comm.get_rank()
    # Sample 2 is scored by both, as a sampler that pads would have it.
    result = scored(evaluator(folder), range(3) if rank == 0 else range(2, 5))
    assert bool(result) == (rank == 0)


def test_two_processes_give_the_metrics_of_one(tmp_path):
    run_in_two_processes(score_share, str(tmp_path))
    shared = json.loads((tmp_path / "metrics_pools.json").read_text())
    assert shared["mIoU"] == pytest.approx(scored(evaluator(), range(5))["referring_seg"]["mIoU"])
    assert shared["num_samples"] == 5
