"""Refs to several objects of a COCO file and to none: true, or false, of the masks."""

import json
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from test_from_instances import EVERY_FOURTH, SHIP, TANK, VEHICLE, CocoFile, build, observed

from cadformer_d2.data.catalog import find_dataset
from cadformer_d2.data.grammar.any_targets import AnyTargets
from cadformer_d2.data.grammar.constraints import InHalf, InRegion, Landmark, SideOf
from cadformer_d2.data.grammar.descriptions import Description
from cadformer_d2.data.grammar.statements import ABSENT, ABSENT_HARD, SEVERAL, Statement
from cadformer_d2.dataset_building.from_instances.evidence import Evidence
from cadformer_d2.dataset_building.from_instances.expressions import SynthesisOptions

MANY = AnyTargets(several=2, absent=4)


@pytest.fixture
def coco(tmp_path):
    """Three ships and a tank, or two tanks; and one vehicle of those in the image."""
    made = CocoFile(tmp_path / "source")
    for number in range(1, 13):
        name = f"{number:03d}.jpg"
        if number % 2:
            ships = ((SHIP, 5, 5, 20, 15), (SHIP, 10, 25, 22, 33), (SHIP, 70, 45, 80, 52))
            made.add(name, *ships, (TANK, 60, 5, 75, 20), (VEHICLE, 5, 50, 12, 55))
        else:
            made.add(name, (TANK, 60, 5, 75, 20), (TANK, 60, 35, 75, 50), (VEHICLE, 5, 50, 12, 55))
    return made


def written(coco, root, **changes):
    """Every (ref, sentence, kind) of a dataset with refs to any number of targets."""
    options = {"any_targets": MANY, "not_exhaustive": ["vehicle"], **changes}
    _, refs = build(coco, root, options=SynthesisOptions(long_share=0), **options)
    return [(ref, s["sent"], s["kind"]) for ref in refs for s in ref["sentences"]]


def middles(root):
    """Centre (x, y) of each object, fractions of the image, by image and category."""
    instances = json.loads((root / "ours" / "instances.json").read_text())
    names = {entry["id"]: entry["name"] for entry in instances["categories"]}
    found = {}
    for entry in instances["annotations"]:
        rows, columns = np.nonzero(coco_mask.decode(entry["segmentation"][0]))
        key = (entry["image_id"], names[entry["category_id"]])
        centre = (columns.mean() / 90, rows.mean() / 60)
        found.setdefault(key, {})[entry["id"]] = centre
    return names, found


def test_refs_to_several_objects_have_all_that_fit(coco, tmp_path):
    several = [(ref, text) for ref, text, kind in written(coco, tmp_path) if kind == SEVERAL]
    names, found = middles(tmp_path)
    seen = set()
    for ref, text in several:
        alike = found[ref["image_id"], names[ref["category_id"]]]
        if re.fullmatch(r"(all( the)?|every|each|both|the( two| three)?) (\w+ )?\w+", text):
            assert set(ref["ann_id"]) == set(alike), text
            seen.add("all")
        elif re.search(r"(on|in) the left( (half|side|part) of the image)?$", text):
            assert set(ref["ann_id"]) == {key for key, (x, _) in alike.items() if x < 0.5}, text
            assert len(ref["ann_id"]) < len(alike)
            seen.add("left")
    assert seen == {"all", "left"}


def test_refs_to_none_ask_for_a_category_or_a_place_that_is_not_so(coco, tmp_path):
    all_written = written(coco, tmp_path)
    names, found = middles(tmp_path)
    kinds = []
    for ref, text, kind in all_written:
        if kind in (ABSENT, ABSENT_HARD):
            assert ref["ann_id"] == [-1] and ref["no_target"]
            is_there = (ref["image_id"], names[ref["category_id"]]) in found
            assert is_there == (kind == ABSENT_HARD), text
            kinds.append(kind)
    assert kinds.count(ABSENT_HARD) >= len(kinds) / 3 and kinds.count(ABSENT) > 10


def test_of_what_is_not_labelled_in_full_neither_all_nor_none_is_said(coco, tmp_path):
    for _, text, _ in written(coco, tmp_path):
        assert not set(text.split()) & {"vehicle", "vehicles", "car", "cars"}, text


def test_what_cannot_be_used_is_not_said_to_be_absent(coco, tmp_path):
    for entry in coco.content["annotations"]:
        if entry["category_id"] == SHIP and entry["image_id"] in (1, 3):
            entry["segmentation"] = [[1, 2]]
    absent = [ref for ref, _, kind in written(coco, tmp_path) if kind == ABSENT]
    assert {"002.jpg"} <= {ref["file_name"] for ref in absent}
    assert not {"001.jpg", "003.jpg"} & {ref["file_name"] for ref in absent}


def test_the_dataset_says_so_and_the_project_reads_it(coco, tmp_path):
    written(coco, tmp_path)
    info = find_dataset("ours", tmp_path)
    records = [r for split in ("train", "val", "test") for r in info.load(tmp_path, split, False)]
    assert {len(record["annotations"]) for record in records} >= {0, 1, 2}
    build_record = json.loads((tmp_path / "ours" / "build.json").read_text())
    assert build_record["any_targets"] == {"several": 2, "absent": 4, "hard_share": 0.4}


def test_without_the_option_nothing_changes(coco, tmp_path):
    _, refs = build(coco, tmp_path / "plain")
    description = json.loads((tmp_path / "plain" / "ours" / "dataset.json").read_text())
    record = json.loads((tmp_path / "plain" / "ours" / "build.json").read_text())
    assert "targets" not in description and "any_targets" not in record
    assert all(isinstance(ref["ann_id"], int) and "no_target" not in ref for ref in refs)
    singles = {(ref["ref_id"], tuple(ref["sent_ids"])) for ref in refs}
    _, more = build(coco, tmp_path / "more", any_targets=MANY)
    assert singles < {(ref["ref_id"], tuple(ref["sent_ids"])) for ref in more}


def test_refs_in_images_without_a_split_are_left_out(coco, tmp_path):
    only_vehicles = coco.add("013.jpg", (VEHICLE, 5, 50, 12, 55))["image_id"]
    split_file = tmp_path / "splits.json"
    split_file.write_text(json.dumps({"train": [f"{n:03d}.jpg" for n in range(1, 13)]}))
    splits = type(EVERY_FOURTH)(file=split_file)
    refs = [ref for ref, *_ in written(coco, tmp_path, splits=splits)]
    assert refs and only_vehicles not in {ref["image_id"] for ref in refs}
    assert "013.jpg" not in {ref["file_name"] for ref in refs}


def stated(scene, constraint, *members):
    chosen = tuple(scene.objects[index] for index in members)
    return Statement(scene, Description("ship", (constraint,)), chosen, is_about_all=True)


def test_extents_must_bear_out_what_is_said_of_several():
    left, other, reaching = (5, 5, 20, 15), (10, 25, 22, 33), (30, 40, 75, 52)
    scene = observed(left, other, (70, 45, 80, 52))
    assert Evidence(scene).supports_all(stated(scene, InHalf("left"), 0, 1))
    scene = observed(left, other, reaching)  # a third of it lies in the left half
    assert not Evidence(scene).supports_all(stated(scene, InHalf("left"), 0, 1))


@pytest.mark.parametrize(
    ("constraint", "denied", "doubtful"),
    [
        (InHalf("left"), (60, 5, 80, 15), (40, 5, 60, 15)),
        (InRegion(0, 0), (60, 5, 80, 15), (30, 5, 46, 15)),
        (InRegion(1, 1), (5, 5, 15, 15), (20, 15, 60, 40)),
    ],
    ids=str,
)
def test_a_place_is_denied_only_of_what_lies_plainly_elsewhere(constraint, denied, doubtful):
    scene = observed(denied, doubtful)
    verdicts = [Evidence(scene).denies(constraint, found) for found in scene.objects]
    assert verdicts == [True, False]


def test_a_side_is_denied_only_of_what_reaches_no_farther():
    scene = observed((60, 5, 80, 15), (20, 40, 70, 50), (40, 20, 50, 30))
    beside = SideOf("left", Landmark((scene.objects[2],)))
    assert [Evidence(scene).denies(beside, found) for found in scene.objects[:2]] == [True, False]
