"""Expressions with several targets or none: how gRefCOCO writes them, and what is read of it."""

import json

import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from pycocotools import mask as coco_mask
from refer_files import ReferFiles, square

from cadformer_d2.data.catalog import find_dataset
from cadformer_d2.data.mapper import RefSegMapper
from cadformer_d2.data.queries import (
    query_from_other_scenes,
    query_with_other_expressions,
    query_without_words,
)
from cadformer_d2.data.refer import load_refer_records

# Annotations 1, 4 and 7 are about images 1, 2 and 3; 2 and 3 about image 1 as well.
ONE, TWO, THREE = square(5, 5), square(5, 40), square(5, 25)


@pytest.fixture
def files(tmp_path):
    return ReferFiles(tmp_path)


def load_first(files, **changes):
    """Ref 1 (image 1, category 2) with some keys changed; None takes a key away."""
    for key, value in changes.items():
        files.refs[0][key] = value
        if value is None:
            del files.refs[0][key]
    files.write()
    records = load_refer_records(files.annotations, files.images, split="train", any_targets=True)
    assert [record["ref_id"] for record in records] == [1, 4, 7]
    return records[0]


READ = {
    "an int": ({"ann_id": 1}, [ONE]),
    "its digits": ({"ann_id": ["2", "3"]}, [TWO, THREE]),
    "a list of one": ({"ann_id": [2], "category_id": [1]}, [TWO]),
    "a list of several": ({"ann_id": [1, 3], "category_id": [2, 2]}, [ONE, THREE]),
    "a repeated id": ({"ann_id": [3, 1, 3]}, [THREE, ONE]),
    "none": ({"ann_id": [-1], "category_id": [-1]}, []),
    "none as an int": ({"ann_id": -1}, []),
    "none, flagged": ({"ann_id": [-1], "category_id": [-1], "no_target": True}, []),
    "empty": ({"ann_id": [-1], "empty": True}, []),
    "an empty list": ({"ann_id": []}, []),
    "no key, flagged": ({"ann_id": None, "no_target": True}, []),
    "neither key, flagged": ({"ann_id": None, "category_id": None, "empty": True}, []),
    "a flag that says no": ({"ann_id": [2], "no_target": False, "empty": False}, [TWO]),
}


@pytest.mark.parametrize("form", READ)
def test_every_way_to_write_targets_gives_their_masks(files, form):
    changes, masks = READ[form]
    record = load_first(files, **changes)
    found = [coco_mask.decode(entry["segmentation"]) for entry in record["annotations"]]
    np.testing.assert_array_equal(np.array(found), np.array(masks))


REFUSED = {
    "no key": ({"ann_id": None}, "ref 1 has no 'ann_id'"),
    "null": ({"ann_id": [None]}, r"ref 1 ann_id"),
    "both": ({"ann_id": [1, -1]}, r"ref 1 ann_id is \[1, -1\], both targets and -1 for none"),
    "flag and id": (
        {"ann_id": [1], "no_target": True},
        r"ref 1 says 'no_target' is True, but its ann_id is \[1\]",
    ),
    "no flag and no id": (
        {"ann_id": [-1], "empty": False},
        r"ref 1 says 'empty' is False, but its ann_id is \[-1\]",
    ),
    "targets without a category": ({"category_id": [-1]}, "ref 1 has no 'category_id'"),
    "another image": ({"ann_id": [1, 4]}, "ref 1 is about image 1, its annotation 4 about image 2"),
    "unknown id": ({"ann_id": [1, 99]}, "ref 1 points to annotation 99, which is not in"),
    "unknown category": ({"category_id": [2, 9]}, "ref 1 has unknown category id 9"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_says_two_things_or_nothing_is_one_clear_message(files, form):
    changes, message = REFUSED[form]
    with pytest.raises(ValueError, match=message):
        load_first(files, **changes)


@pytest.mark.parametrize(
    ("category_id", "expected"), [(1, 0), ([2], 1), ([2, 1], 1), ([-1], -1), (None, -1)]
)
def test_the_category_is_what_the_expression_asks_for_where_the_file_says_it(
    files, category_id, expected
):
    changes = {"ann_id": None, "no_target": True, "category_id": category_id}
    assert load_first(files, **changes)["category_id"] == expected


def test_grefcocos_json_is_read_where_there_are_no_pickled_refs(files):
    files.refs[0].update(ann_id=[1, 2])
    files.write()
    (files.annotations / "refs(unc).p").unlink()
    (files.annotations / "grefs(unc).json").write_text(json.dumps(files.refs))
    load = {"split": "train", "any_targets": True}
    record, *_ = load_refer_records(files.annotations, files.images, **load)
    assert len(record["annotations"]) == 2
    files.refs[0].update(ann_id=None)
    (files.annotations / "grefs(unc).json").write_text(json.dumps(files.refs))
    with pytest.raises(ValueError, match=r"grefs\(unc\)\.json: ref 1 ann_id"):
        load_refer_records(files.annotations, files.images, **load)


@pytest.mark.parametrize("targets", ["any", "one", None])
def test_a_dataset_says_that_its_refs_have_any_number_of_targets(tmp_path, targets):
    files = ReferFiles(tmp_path, name="fields")
    files.refs[0].update(ann_id=[-1])
    files.write()
    said = {"targets": targets} if targets else {}
    description = {"classes": ["baseball field", "tennis court"], **said}
    (files.annotations / "dataset.json").write_text(json.dumps(description))
    info = find_dataset("fields", tmp_path)
    if targets == "any":
        assert info.load(tmp_path, "train", False)[0]["annotations"] == []
        return
    with pytest.raises(ValueError, match='ref 1 has no target, .* "targets": "any"'):
        info.load(tmp_path, "train", False)


@pytest.mark.parametrize(("ids", "masks"), [([1, 3], ONE | THREE), ([-1], 0 * ONE)])
def test_the_mapper_gives_the_union_of_the_targets_and_their_number(files, ids, masks):
    record = load_first(files, ann_id=ids)
    cfg = make_tiny_cfg()
    cfg.INPUT.SIZE, cfg.TEST.EVAL_RESOLUTION = (40, 60), "native"
    trained = RefSegMapper(cfg, is_train=True)(record, np.random.default_rng(0))
    np.testing.assert_array_equal(trained["gt_mask"], masks)
    assert trained["gt_mask"].dtype == torch.bool
    scored = RefSegMapper(cfg, is_train=False)(record)
    np.testing.assert_array_equal(coco_mask.decode(scored["gt_rle"]), masks)
    cfg.TEST.EVAL_RESOLUTION = "input"
    shrunk = RefSegMapper(cfg, is_train=False)(record)
    np.testing.assert_array_equal(coco_mask.decode(shrunk["gt_rle"]), masks)
    expected = 0 if ids == [-1] else len(ids)
    assert {sample["num_targets"] for sample in (trained, scored, shrunk)} == {expected}


def load_test(files):
    files.write()
    return load_refer_records(files.annotations, files.images, split="test", any_targets=True)


def test_shuffling_asks_about_other_targets_never_about_shared_ones_or_none(files):
    for ref in files.refs:
        ref["split"] = "test"
        ref["sentences"][0]["sent"] = f"ref {ref['ref_id']}"
    # Refs 1, 2, 3 are about image 1: 1 to its objects 1 and 2, 2 to object 2, 3 to object 3.
    files.refs[0].update(ann_id=[1, 2])
    files.refs[3].update(ann_id=[-1])  # of image 2, whose others are refs 5 and 6
    asked = {r["ref_id"]: r["expressions"] for r in query_with_other_expressions(load_test(files))}
    assert asked == {
        **{1: ["ref 3"], 2: ["ref 3"], 3: ["ref 1"], 5: ["ref 6"], 6: ["ref 5"]},
        **{7: ["ref 8"], 8: ["ref 9"], 9: ["ref 7"]},
    }


def test_an_expression_of_another_scene_is_asked_where_its_category_is_not(files):
    for image_id, category_id in ((1, 1), (2, 2), (3, 2)):
        for ref in files.refs:
            if ref["image_id"] == image_id:
                ref.update(category_id=category_id, split="test")
                for sentence in ref["sentences"]:
                    sentence.update(sent=f"category {category_id}", kind="position")
    files.refs[8].update(ann_id=[-1], category_id=1)  # image 3 also knows that it has none of 1
    records = load_test(files)
    moved = query_from_other_scenes(records)
    assert [(r["image_id"], *r["expressions"]) for r in moved] == [
        (1, "category 2"),
        (2, "category 1"),
    ]
    for record in moved:
        assert record["annotations"] == [] and record["sentence_kinds"] == ["absent"]
        (image,) = {r["file_name"] for r in records if r["image_id"] == record["image_id"]}
        assert record["file_name"] == image
        assert record["category_id"] == (1 if record["image_id"] == 1 else 0)
    assert len({(r["ref_id"], r["sent_id"]) for r in moved}) == len(moved)
    with pytest.raises(ValueError, match="no image lacks a category of another one"):
        query_from_other_scenes([r for r in records if r["image_id"] == 1])


def test_what_loses_its_place_may_become_true_and_is_not_asked(files):
    files.refs[1].update(ann_id=[-1])
    records = load_test(files)
    changed = query_without_words(records, find=lambda text: [(0, 3)])
    assert {record["ref_id"] for record in records} - {r["ref_id"] for r in changed} == {2}
