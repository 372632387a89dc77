import numpy as np
import pytest

from cadformer_d2.evaluation.comparison import (
    SampleIous,
    average_seeds,
    bootstrap_interval,
    compare_paired,
    find_most_disputed,
)
from cadformer_d2.evaluation.comparison_table import MethodResult, main_rows, render_table


def scores(iou, *, images=None):
    iou = np.asarray(iou, float)
    images = np.arange(len(iou)) if images is None else np.asarray(images)
    return SampleIous([(i, i) for i in range(len(iou))], images, iou)


def noisy(seed, *, shift=0.0, number=200):
    rng = np.random.default_rng(7)
    hardness = rng.random(number)  # of the images: shared by all methods
    return scores(np.clip(hardness + np.random.default_rng(seed).normal(shift, 0.05, number), 0, 1))


def test_a_small_difference_shows_on_shared_samples_though_the_intervals_overlap():
    method, reference = noisy(1, shift=0.03), noisy(2)
    assert bootstrap_interval(method)[0] < bootstrap_interval(reference)[1]
    difference = compare_paired(method, reference)
    assert 0 < difference.low < difference.mean < difference.high
    assert difference.p_value < 0.01


def test_no_difference_is_not_significant():
    assert compare_paired(noisy(1), noisy(2)).p_value > 0.05


def test_samples_of_one_image_do_not_count_as_independent():
    # The same scores, once as 20 images of 10 sentences each: less is known about other images.
    per_image = np.random.default_rng(0).random(20).repeat(10)
    narrow = bootstrap_interval(scores(per_image))
    wide = bootstrap_interval(scores(per_image, images=np.arange(20).repeat(10)))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_the_sign_of_the_difference_is_method_minus_reference():
    assert compare_paired(scores([0.5, 0.7]), scores([0.4, 0.4])).mean == pytest.approx(20)


def test_other_samples_cannot_be_paired():
    with pytest.raises(ValueError, match="2 and 3, of which 1 are in only one"):
        compare_paired(scores([0.5, 0.7]), scores([0.4, 0.4, 0.4]))


def test_seeds_are_averaged_sample_by_sample():
    np.testing.assert_allclose(
        average_seeds([scores([0.2, 1.0]), scores([0.4, 0.0])]).iou, [0.3, 0.5]
    )


def test_the_most_disputed_samples_come_first_and_one_of_an_image():
    methods = [
        scores([0.5, 0.9, 0.8, 0.1], images=[1, 2, 2, 3]),
        scores([0.5, 0.1, 0.2, 0.2], images=[1, 2, 2, 3]),
    ]
    assert find_most_disputed(methods, number=2) == [(1, 1), (3, 3)]


def method(name, *ious, published=None):
    samples = [scores(iou) for iou in ious]
    numbers = ("mIoU", "oIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9")
    metrics = [dict.fromkeys(numbers, 100 * float(np.mean(iou))) | {"groups": {}} for iou in ious]
    return MethodResult(name, metrics, samples, {"GFLOPs": 1.0}, published or {}, {})


def test_a_row_has_mean_spread_and_the_difference_to_the_first_method():
    first, second = main_rows(
        [
            method("ours", [0.5, 0.7], [0.7, 0.9], published={"mIoU": 63.77}),
            method("lavt", [0.4] * 2),
        ]
    )
    assert first["mIoU"] == "70.00 ± 14.14" and first["mIoU minus ours"] == "-"
    assert first["published mIoU"] == "63.77"
    assert second["mIoU"] == "40.00" and second["mIoU minus ours"].startswith("-30.00 (")


def test_every_form_of_the_table_has_every_cell():
    rows = main_rows([method("ours", [0.5, 0.7]), method("a,b", [0.4] * 2)])
    assert '"a,b"' in render_table(rows, "csv")
    for form in ("markdown", "latex"):
        assert all(cell in render_table(rows, form) for cell in ("ours", "60.00", "40.00"))
