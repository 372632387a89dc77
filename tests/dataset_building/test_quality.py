import numpy as np
import pytest

from cadformer_d2.dataset_building.images import encode_mask
from cadformer_d2.dataset_building.judging import judge_mask, write_quality
from cadformer_d2.dataset_building.quality import (
    DEFAULT_LIMITS,
    judge_quality,
    measure_mask,
    read_limits,
)
from cadformer_d2.dataset_building.triplets import Target
from cadformer_d2.dataset_building.workspace import MaskRecord, Workspace

LIMITS = read_limits()
BOX = (20.0, 10.0, 60.0, 40.0)


def square():
    mask = np.zeros((50, 80), bool)
    mask[10:40, 20:60] = True
    return mask


def verdict(mask, *, predicted_iou=0.95, stability=0.97, box=BOX):
    quality = measure_mask(
        mask,
        box,
        predicted_iou=predicted_iou,
        stability=stability,
        smallest_part=LIMITS.smallest_part,
    )
    return judge_quality(quality, LIMITS)


def test_a_mask_that_fills_its_box_is_not_doubtful():
    found = verdict(square())
    assert not found.is_doubtful and found.score == 1 and found.reasons == ()


def test_a_segmenter_that_predicts_no_iou_is_not_blamed_for_it():
    assert not verdict(square(), predicted_iou=None).is_doubtful


def spoilt(how):
    mask = square()
    if how == "half":
        mask[:, 40:] = False
    elif how == "fragment":
        mask[:, 38:42] = False
    elif how == "hole":
        mask[20:25, 30:35] = False
    elif how == "leak":
        mask[40:48, 20:60] = True
    elif how == "thin":
        mask = np.zeros_like(mask)
        mask[np.arange(10, 40), np.linspace(20, 59, 30).astype(int)] = True
    elif how == "border":
        mask[[0, -1]] = mask[:, [0, -1]] = True
    return mask


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("half", "box_iou"),
        ("fragment", "fragments"),
        ("hole", "holes"),
        ("leak", "inside"),
        ("thin", "area_ratio"),
        ("border", "border_contact"),
    ],
)
def test_what_is_wrong_with_a_mask_is_a_reason_and_lowers_its_score(how, reason):
    found = verdict(spoilt(how))
    assert any(text.startswith(reason) for text in found.reasons)
    assert 0 < found.score < 1


@pytest.mark.parametrize(("given", "reason"), [("predicted_iou", 0.5), ("stability", 0.5)])
def test_the_segmenters_own_doubt_counts(given, reason):
    found = verdict(square(), **{given: reason})
    assert found.reasons[0].startswith(f"{given} 0.50 <")


def test_more_reasons_make_a_lower_score_and_an_empty_mask_is_the_worst():
    one, two = verdict(square(), stability=0.5), verdict(spoilt("hole"), stability=0.5)
    assert verdict(np.zeros((50, 80), bool)).score == 0 < two.score < one.score


def test_specks_are_neither_fragments_nor_holes():
    mask = square()
    mask[0, 0] = mask[45, 70] = True
    mask[20, 30] = False
    assert not verdict(mask).is_doubtful


def test_a_bay_open_to_the_image_border_is_no_hole():
    mask = np.ones((50, 80), bool)
    mask[:10, 30:40] = False
    quality = measure_mask(mask, BOX, predicted_iou=None, stability=1.0, smallest_part=0.001)
    assert quality.holes == 0 and quality.fragments == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("least_stabilty: 0.9", "unknown keys: 'least_stabilty'"),
        ("least_stability: high", "least_stability is 'high'"),
        ("least_stability: true", "least_stability is True"),
        ("least_stability: .nan", "least_stability is nan"),
        ("least_stability: -1", "least_stability is -1"),
        ("1: 2", "unknown keys: 1"),
        ("least_stability: [", "not a YAML file"),
        ("least_stability: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("least_stability: " + "[" * 400, "not a YAML file"),
        ("least_stability: 2001-99-99", "not a YAML file"),
        ("least_stability: !!bool what", "not a YAML file"),
        ("\xff", "not UTF-8"),
    ],
)
def test_a_mistake_in_the_limits_file_is_named(tmp_path, line, message):
    lines = [
        text
        for text in DEFAULT_LIMITS.read_text().splitlines()
        if "stabilty" in line or not text.startswith("least_stability")
    ]
    path = tmp_path / "limits.yaml"
    path.write_bytes("\n".join([*lines, line]).encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read_limits(path)


def test_the_table_of_measures_holds_no_formula(tmp_path):
    record = MaskRecord(encode_mask(np.ones((9, 9), bool)), None, 1.0)
    target = Target(1, "=a.jpg", (0, 0, 9, 9), "@pool", "", ("it",))
    write_quality(Workspace(tmp_path), [judge_mask(target, record, read_limits())])
    header, row = (tmp_path / "quality.csv").read_text().splitlines()
    assert header.startswith("target_id,image,category,score,")
    assert row.startswith("1,'=a.jpg,'@pool,")
