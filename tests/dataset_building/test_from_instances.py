"""Expressions from instance masks: what they say is true of the masks, and only of the target."""

import json
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_process import CADFORMER, run
from pycocotools import mask as coco_mask

from cadformer_d2.data.grammar.constraints import (
    FarthestFrom,
    InHalf,
    InRegion,
    Landmark,
    NearestTo,
    NthFrom,
    Outermost,
    SideOf,
    SizeRank,
)
from cadformer_d2.data.grammar.descriptions import Description
from cadformer_d2.data.refer import load_refer_records
from cadformer_d2.data.synthetic import SynthrsParameters, generate_synthrs
from cadformer_d2.dataset_building.from_instances.blocks import block_of
from cadformer_d2.dataset_building.from_instances.evidence import Evidence
from cadformer_d2.dataset_building.from_instances.expressions import SynthesisOptions
from cadformer_d2.dataset_building.from_instances.observed import ObservedObject, ObservedScene
from cadformer_d2.dataset_building.from_instances.synthesis import Splits, synthesize_expressions
from cadformer_d2.dataset_building.images import encode_mask

BUS_LOT = Path(__file__).parents[3] / "shared" / "real" / "bus_lot"
SIZE = (60, 90)  # height, width
SHIP, TANK, VEHICLE = 1, 2, 3


class CocoFile:
    """A COCO instance file of rectangles, with images of one grey."""

    def __init__(self, folder):
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.path = folder / "instances.json"
        self.content = {
            "images": [],
            "annotations": [],
            "categories": [
                {"id": key, "name": name}
                for key, name in ((SHIP, "ship"), (TANK, "storage_tank"), (VEHICLE, "vehicle"))
            ],
        }

    def add(self, name, *boxes):
        """An image with objects (category id, left, top, right, bottom), pixels."""
        image_id = len(self.content["images"]) + 1
        entry = {"id": image_id, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
        self.content["images"].append(entry)
        cv2.imwrite(str(self.images / name), np.full((*SIZE, 3), 10 * image_id % 255, np.uint8))
        for category, left, top, right, bottom in boxes:
            corners = [left, top, right, top, right, bottom, left, bottom]
            self.content["annotations"].append(
                {
                    "id": len(self.content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": [corners],
                    "iscrowd": 0,
                }
            )
        return self.content["annotations"][-1]

    def write(self):
        self.path.write_text(json.dumps(self.content))
        return {"instances": self.path, "images": self.images}


@pytest.fixture
def coco(tmp_path):
    made = CocoFile(tmp_path / "source")
    three = ((SHIP, 5, 5, 20, 15), (SHIP, 40, 25, 52, 33), (SHIP, 70, 45, 80, 52))
    for number in range(1, 13):
        made.add(f"{number:03d}.jpg", *three, (TANK, 60, 5, 75, 20), (VEHICLE, 5, 50, 12, 55))
    return made


EVERY_FOURTH = Splits(shares=(0.5, 0.25, 0.25), block=3)


def build(coco, root, **options):
    given = {"splits": EVERY_FOURTH, **coco.write(), **options}
    report = synthesize_expressions(root, "ours", **given)
    refs = pickle.loads((root / "ours" / "refs(unc).p").read_bytes())
    return report, refs


def texts(refs):
    return [sentence["sent"] for ref in refs for sentence in ref["sentences"]]


def test_a_dataset_that_the_project_reads(coco, tmp_path):
    report, refs = build(coco, tmp_path)
    folders = (tmp_path / "ours", tmp_path / "images" / "ours" / "JPEGImages")
    records = [
        record
        for split in ("train", "val", "test")
        for record in load_refer_records(*folders, split=split)
    ]
    assert len(records) == len(refs) == 5 * 12
    assert {kind for record in records for kind in record["sentence_kinds"]} == {
        *("category", "position", "relation", "size")
    }
    assert "| train " in report and "storage tank" in " ".join(texts(refs))


def test_words_of_order_are_true_of_the_masks(coco, tmp_path):
    _, refs = build(coco, tmp_path, options=SynthesisOptions(most_expressions=20, long_share=0))
    instances = json.loads((tmp_path / "ours" / "instances.json").read_text())
    masks = {a["id"]: coco_mask.decode(a["segmentation"][0]) for a in instances["annotations"]}
    seen = set()
    for ref in refs:
        alike = [r for r in refs if all(r[k] == ref[k] for k in ("image_id", "category_id"))]
        middle = {r["ref_id"]: np.argwhere(masks[r["ann_id"]]).mean(0) for r in alike}
        area = {r["ref_id"]: masks[r["ann_id"]].sum() for r in alike}
        order = {
            "the leftmost ship": min(middle, key=lambda key: middle[key][1]),
            "the bottommost ship": max(middle, key=lambda key: middle[key][0]),
            "the second ship from the top": sorted(middle, key=lambda key: middle[key][0])[
                1 % len(middle)
            ],
            "the largest ship": max(area, key=area.get),
        }
        for sentence in ref["sentences"]:
            if sentence["sent"] in order:
                assert order[sentence["sent"]] == ref["ref_id"], sentence["sent"]
                seen.add(sentence["sent"])
    assert seen == set(order)


def test_nothing_is_said_that_needs_a_category_that_is_not_labelled_in_full(coco, tmp_path):
    _, refs = build(
        coco, tmp_path, not_exhaustive=["vehicle"], options=SynthesisOptions(long_share=1)
    )
    assert {ref["category_id"] for ref in refs} == {1, 2}
    assert not any("vehicle" in text for text in texts(refs))


def test_a_crowd_makes_its_category_incomplete_in_its_image(coco, tmp_path):
    coco.content["annotations"][3]["iscrowd"] = 1
    _, refs = build(coco, tmp_path, options=SynthesisOptions(long_share=1))
    assert not any(
        "tank" in s["sent"] for r in refs if r["file_name"] == "001.jpg" for s in r["sentences"]
    )
    assert any(
        "tank" in s["sent"] for r in refs if r["file_name"] == "002.jpg" for s in r["sentences"]
    )


def test_an_object_that_was_labelled_twice_counts_once(coco, tmp_path):
    coco.content["annotations"].append({**coco.content["annotations"][3], "id": 1000})
    report, refs = build(coco, tmp_path)
    assert "labelled twice" in report
    tanks = [r for r in refs if r["file_name"] == "001.jpg" and r["category_id"] == 2]
    assert len(tanks) == 1 and tanks[0]["sentences"][0]["kind"] == "category"


def test_equal_input_gives_equal_files_and_another_seed_others(coco, tmp_path):
    _, first = build(coco, tmp_path / "a")
    _, second = build(coco, tmp_path / "b")
    _, other = build(coco, tmp_path / "c", options=SynthesisOptions(seed=1))
    assert first == second != other


def test_neighbouring_numbers_share_a_split(coco, tmp_path):
    _, refs = build(coco, tmp_path)
    splits = {ref["file_name"]: ref["split"] for ref in refs}
    blocks = [{splits[f"{n:03d}.jpg"] for n in range(first, first + 3)} for first in (1, 4, 7, 10)]
    assert all(len(block) == 1 for block in blocks) and len(set.union(*blocks)) == 3


@pytest.mark.parametrize(
    ("name", "block", "expected"),
    [
        ("P0017_12.png", 10, "./P0017_1"),
        ("a/010.jpg", 10, "a/0"),
        ("a/011.jpg", 10, "a/1"),
        ("a/011.jpg", 1, "a/011.jpg"),
        ("lake.jpg", 10, "lake.jpg"),
    ],
)
def test_blocks_go_by_the_last_number_of_a_name(name, block, expected):
    assert block_of(name, block) == expected


def test_a_file_of_splits_wins(coco, tmp_path):
    names = [f"{number:03d}.jpg" for number in range(1, 13)]
    chosen = {"train": names[::2], "val": names[1:3:2], "test": names[3::2]}
    (tmp_path / "splits.json").write_text(json.dumps(chosen))
    _, refs = build(coco, tmp_path, splits=Splits(file=tmp_path / "splits.json"))
    assert all(ref["file_name"] in chosen[ref["split"]] for ref in refs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["001.jpg"]}, "11 images are in no split, the first is 002.jpg"),
        ({"train": ["001.jpg"], "test": ["001.jpg"]}, "001.jpg is in test and in train"),
        ({"training": []}, "expected lists of image names under train, val, test"),
        ({"train": "001.jpg"}, "'train' is no list of image names"),
    ],
)
def test_a_wrong_file_of_splits_is_an_error_and_nothing_is_written(
    coco, tmp_path, content, message
):
    (tmp_path / "splits.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        build(coco, tmp_path / "root", splits=Splits(file=tmp_path / "splits.json"))
    assert not (tmp_path / "root").exists()


def test_what_cannot_be_used_is_set_aside_and_reported(coco, tmp_path):
    annotations = coco.content["annotations"]
    annotations[0]["segmentation"] = [[1, 2]]
    annotations[1]["category_id"] = 9
    annotations[5]["image_id"] = "x"
    coco.content["images"][2]["width"] += 1
    os.remove(coco.images / "004.jpg")
    report, refs = build(coco, tmp_path)
    assert {ref["file_name"] for ref in refs}.isdisjoint({"003.jpg", "004.jpg"})
    for kind in ("unusable annotation", "image of another size", "unusable image"):
        assert kind in report


def test_a_category_that_is_not_there_is_named(coco, tmp_path):
    with pytest.raises(ValueError, match="has no category car; known: ship, storage tank, vehicle"):
        build(coco, tmp_path, not_exhaustive=["car"])


def test_a_dataset_that_is_there_is_not_replaced(coco, tmp_path):
    build(coco, tmp_path)
    with pytest.raises(FileExistsError):
        build(coco, tmp_path)


def observed(*boxes, category="ship", size=(60, 90)):
    """A scene of rectangles (left, top, right, bottom) in pixels."""
    objects = []
    for number, (left, top, right, bottom) in enumerate(boxes):
        pixels = np.zeros(size, bool)
        pixels[top:bottom, left:right] = True
        objects.append(ObservedObject(number, category, encode_mask(pixels)))
    return ObservedScene("x.jpg", size, tuple(objects), frozenset())


def supported(constraint, *boxes, target=0):
    scene = observed(*boxes)
    description = Description("ship", (constraint,))
    return Evidence(scene).supports(description, scene.objects[target])


SMALL = (70, 40, 80, 50)


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (InHalf("left"), (5, 5, 20, 20), (5, 5, 70, 20)),  # reaches across the middle
        (Outermost("left"), (5, 5, 15, 20), (71, 5, 90, 20)),  # begins behind the other
        (InRegion(0, 0), (2, 2, 20, 15), (2, 2, 20, 50)),  # half of it in the lower half
        (SizeRank(largest=False), (5, 5, 10, 10), (0, 5, 5, 10)),  # cut: nobody sees its size
        (NthFrom("left", 1), (5, 5, 15, 20), (5, 5, 85, 20)),  # begins first and ends last
    ],
)
def test_extents_must_agree_with_centres(constraint, good, bad):
    assert supported(constraint, good, SMALL)
    assert not supported(constraint, bad, SMALL)


def test_at_the_bottom_names_no_column():
    bottom, corner = (40, 45, 50, 55), (75, 45, 85, 55)
    assert supported(InRegion(1, 2), bottom, (75, 5, 85, 15))
    assert not supported(InRegion(1, 2), bottom, corner)
    assert supported(InRegion(2, 2), corner, bottom)


def test_the_nearest_has_the_smallest_gap_not_only_the_nearest_centre():
    court = observed((30, 20, 60, 40), category="court").objects[0]
    near, far_centre_but_touching = (62, 25, 68, 35), (0, 41, 90, 60)
    for constraint, expected in ((NearestTo, False), (FarthestFrom, True)):
        ships = observed(near, far_centre_but_touching).objects
        scene = ObservedScene(
            "x.jpg", SIZE, (*ships, ObservedObject(9, "court", court.mask)), frozenset()
        )
        described = Description("ship", (constraint(Landmark((scene.objects[2],))),))
        assert Evidence(scene).supports(described, scene.objects[0]) is expected


def test_left_of_is_not_far_above():
    scene = ObservedScene(
        "x.jpg",
        (90, 90),
        (
            *observed((30, 2, 40, 10), (30, 70, 40, 80), size=(90, 90)).objects,
            ObservedObject(9, "court", observed((50, 70, 60, 80), size=(90, 90)).objects[0].mask),
        ),
        frozenset(),
    )
    evidence, beside = Evidence(scene), SideOf("left", Landmark((scene.objects[2],)))
    assert not evidence.supports(Description("ship", (beside,)), scene.objects[0])
    assert evidence.supports(Description("ship", (beside,)), scene.objects[1])


def test_the_command_takes_what_synthrs_exported(tmp_path):
    generate_synthrs(tmp_path, SynthrsParameters(train=6, val=2, test=2), processes=1)
    ended = run(
        *(CADFORMER, "dataset", "synthesize-expressions", "again", "--root", tmp_path),
        *("--instances", tmp_path / "synthrs" / "instances.json"),
        *("--images", tmp_path / "images" / "synthrs" / "JPEGImages"),
        *("--split-shares", "0.5", "0.25", "0.25", "--block", "1"),
    )
    assert ended.returncode == 0, ended.stderr
    assert "| test " in ended.stdout and (tmp_path / "again" / "dataset.json").is_file()


@pytest.mark.skipif(not BUS_LOT.is_dir(), reason="the real files beside the project are not here")
def test_a_real_file_of_another_source(tmp_path):
    report = synthesize_expressions(
        tmp_path,
        "lot",
        instances=BUS_LOT / "rrsisd" / "instances.json",
        images=BUS_LOT / "images" / "rrsisd" / "JPEGImages",
        splits=Splits(file=_everything_in_train(tmp_path, BUS_LOT)),
    )
    assert "| train " in report


def _everything_in_train(folder, source):
    images = json.loads((source / "rrsisd" / "instances.json").read_text())["images"]
    path = folder / "splits.json"
    path.write_text(json.dumps({"train": [image["file_name"] for image in images]}))
    return path
