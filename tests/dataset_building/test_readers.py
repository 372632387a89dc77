import json
from pathlib import Path

import numpy as np
import pytest
from refer_files import HEIGHT, WIDTH, ReferFiles
from source_files import POOL, SIZE, read, read_lines, xml

from cadformer_d2.dataset_building.defects import DefectLog
from cadformer_d2.dataset_building.readers import read_sizes_in_folder
from cadformer_d2.dataset_building.readers.rsvg_hr import read_rsvg_hr
from cadformer_d2.dataset_building.triplets import group_targets

RSVG_HR = Path(__file__).parent.parent.parent.parent / "shared" / "real" / "rsvg_hr"


@pytest.mark.skipif(not RSVG_HR.is_dir(), reason="RSVG-HR's annotation files are not here")
def test_rsvg_hrs_real_files_are_read_whole_and_every_defect_is_reported():
    files = {split: RSVG_HR / f"rsvg_hr_{split}.txt" for split in ("train", "test")}
    triplets, log = read("rsvg-hr", **files)
    assert len(triplets) == 2650
    assert len({triplet.category for triplet in triplets}) == 7
    words = [len(triplet.sentence.split()) for triplet in triplets]
    assert (min(words), max(words), round(np.mean(words), 2)) == (6, 41, 20.93)
    assert log.counts() == {
        ("decimal comma", "repaired"): 1,
        ("swapped corners", "repaired"): 1,
        ("box past the border", "repaired"): 5,
        ("repeated or outer spaces", "repaired"): 11,
        ("image in several splits", "kept"): 46,
        ("triplet in several splits", "kept"): 3,
    }
    (comma,) = [defect for defect in log.defects if defect.kind == "decimal comma"]
    assert (comma.file, comma.place) == ("rsvg_hr_train.txt", "line 18")
    assert "(170.0, 774.0, 216.0, 803.21)" in comma.detail


@pytest.mark.parametrize(
    ("fields", "kind", "box", "sentence"),
    [
        ("1,2,30,40,a pool, left of a road", "comma inside a sentence", (1, 2, 30, 40), None),
        ("1.0,2.0,30,50,40.0,a pool", "decimal comma", (1, 2, 30.5, 40), "a pool"),
        ("1,2,30,40,2 pools, one of them", "comma inside a sentence", (1, 2, 30, 40), None),
        ("30,40,1,2,a pool", "swapped corners", (1, 2, 30, 40), "a pool"),
        ("-3,2,30,1030.5,a pool", "box past the border", (0, 2, 30, 1024), "a pool"),
        ("1,2,30,40,  a  pool ", "repeated or outer spaces", (1, 2, 30, 40), "a pool"),
    ],
)
def test_a_defect_with_a_rule_is_repaired_and_reported(tmp_path, fields, kind, box, sentence):
    (triplet,), log = read_lines(tmp_path, f"{POOL},{fields}")
    assert triplet.box_xyxy == box
    assert triplet.sentence == (sentence or fields.split(",", 4)[4])
    (defect,) = log.defects
    assert (defect.file, defect.place, defect.kind) == ("train.txt", "line 1", kind)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"{POOL},1,2,30,forty,a pool", "no four numbers"),
        (f"{POOL},1,2,30", "no four numbers"),
        (f"{POOL},5,5,5,40,a pool", "box without area"),
        (f"{POOL},1100,5,1200,40,a pool", "box without area"),
        (f"{POOL},1,2,30,40,  ", "empty sentence"),
        (f"{POOL},1,2,30,50,40,a pool", "five numbers, no single reading"),
        (f"{POOL},1.5,2.5,30.5,50.5,40.5,a pool", "five numbers, no single reading"),
        ("1_2_512_32611_airport.jpg,1,2,30,40,a pool", "no category in the image's name"),
    ],
)
def test_a_defect_without_a_rule_is_set_aside_and_reported(tmp_path, line, kind):
    triplets, log = read_lines(tmp_path, f"{POOL},1,2,30,40,a pool", line)
    assert len(triplets) == 1
    (defect,) = log.defects
    assert (defect.place, defect.kind, defect.action) == ("line 2", kind, "set aside")


def test_a_duplicate_is_set_aside_and_a_foreign_encoding_read(tmp_path):
    line = f"{POOL},1,2,30,40,a pool near a café"
    triplets, log = read_lines(tmp_path, line, line, f"{POOL},1,2,30,40,le café".encode("latin-1"))
    assert [triplet.sentence for triplet in triplets] == ["a pool near a café", "le café"]
    assert [defect.kind for defect in log.defects] == [
        "duplicate triplet",
        "not UTF-8, read as latin-1",
    ]


def test_no_line_disappears_without_a_report(tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for number in range(300):
        characters = list(f"{POOL},10.5,20,{30 + number},40.25,the pool {number}, on the left")
        for place in rng.integers(len(POOL) - 4, len(characters), rng.integers(4)):
            characters[place] = rng.choice(list(",.x 9-"))
        lines.append("".join(characters))
    file = tmp_path / "train.txt"
    file.write_text("\n".join(lines))
    log = DefectLog()
    triplets = read_rsvg_hr({"train": file}, SIZE, log)
    set_aside = [defect for defect in log.defects if defect.action == "set aside"]
    assert len(set_aside) > 10 and len(triplets) + len(set_aside) == 300
    for triplet in triplets:
        x1, y1, x2, y2 = triplet.box_xyxy
        assert 0 <= x1 < x2 <= 1024 and 0 <= y1 < y2 <= 1024


def test_one_box_is_one_target_with_all_its_sentences_and_the_same_id_in_any_company(tmp_path):
    both = [f"{POOL},1,2,30,40,a pool", f"{POOL},1,2,30,40,the same pool"]
    other = f"{POOL},5,6,70,80,another pool"
    (target,) = group_targets(read_lines(tmp_path, *both)[0])
    assert target.sentences == ("a pool", "the same pool")
    in_company = group_targets(read_lines(tmp_path, other, *both)[0])
    assert [entry.target_id for entry in in_company][1] == target.target_id


def test_dior_rsvgs_split_files_count_objects_over_all_files(tmp_path):
    folder = tmp_path / "Annotations"
    folder.mkdir()
    box = (1, 2, 30, 40)
    # Written in another order than their names: the order of names is what counts.
    (folder / "00002.xml").write_text(xml("00002.jpg", ("Ship", box, "ship 2"), ("dam", box, "3")))
    (folder / "00001.xml").write_text(xml("00001.jpg", ("Ship", box, "0"), ("dam", box, "dam 1")))
    (tmp_path / "train.txt").write_text("1\n2\nx\n9\n")
    (tmp_path / "test.txt").write_text("0\n2\n")
    triplets, log = read(
        "dior-rsvg",
        annotations=folder,
        train=tmp_path / "train.txt",
        test=tmp_path / "test.txt",
    )
    assert [(t.sentence, t.category, t.split) for t in triplets] == [
        ("0", "ship", "test"),
        ("dam 1", "dam", "train"),
        ("ship 2", "ship", "train"),
    ]
    assert {(defect.kind, defect.place) for defect in log.defects} == {
        ("not a number", "line 3"),
        ("object in two splits", "line 2"),
        ("object in no split", "object 1 (number 3)"),
        ("no such object", "number 9"),
        ("image in several splits", "object 1 (number 1)"),
    }


def test_dior_rsvgs_numbers_follow_the_names_whatever_order_the_files_are_listed_in(tmp_path):
    (tmp_path / "train.txt").write_text("0\n1\n2\n3\n4\n5\n")
    for number in (3, 1, 6, 2, 5, 4):
        name = f"0000{number}"
        described = xml(f"{name}.jpg", ("dam", (1, 2, 30, 40), f"dam {number}"))
        (tmp_path / f"{name}.xml").write_text(described)
    triplets, _ = read("dior-rsvg", annotations=tmp_path, train=tmp_path / "train.txt")
    assert [triplet.sentence for triplet in triplets] == [f"dam {n}" for n in range(1, 7)]


def test_a_damaged_xml_file_is_an_error_since_it_would_shift_all_numbers(tmp_path):
    (tmp_path / "1.xml").write_text("<annotation><object>")
    (tmp_path / "train.txt").write_text("0\n")
    with pytest.raises(ValueError, match=r"1\.xml: not valid XML"):
        read("dior-rsvg", annotations=tmp_path, train=tmp_path / "train.txt")


def test_coco_boxes_become_corners_and_each_caption_a_triplet(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "categories": [{"id": 5, "name": "tank"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 30, 40], "caption": "a tank"},
            {"id": 2, "image_id": 1, "bbox": [5, 6, 7, 8], "captions": ["one", "two"]},
            {"id": 3, "image_id": 9, "bbox": [5, 6, 7, 8], "caption": "lost"},
            {"id": 4, "image_id": 1, "bbox": [5, 6, 7], "caption": "short"},
        ],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    triplets, log = read("coco", val=tmp_path / "val.json")
    assert [(t.box_xyxy, t.sentence, t.category) for t in triplets] == [
        ((1, 2, 31, 42), "a tank", "tank"),
        ((5, 6, 12, 14), "one", "object"),
        ((5, 6, 12, 14), "two", "object"),
    ]
    assert [(d.place, d.kind) for d in log.defects] == [
        ("annotation 3", "no such image"),
        ("annotation 4", "no four numbers"),
    ]


def test_a_dataset_with_masks_gives_their_boxes_and_missing_images_are_reported(tmp_path):
    files = ReferFiles(tmp_path).write()
    (files.images / "2.jpg").unlink()
    triplets, log = read(
        "refer", annotations=files.annotations, sizes=read_sizes_in_folder(files.images)
    )
    assert triplets[0].box_xyxy == (5, 5, 15, 15) and triplets[0].category == "tennis court"
    assert len(triplets) == 12 and log.counts()["missing image", "set aside"] == 6
    assert read_sizes_in_folder(files.images)("1.jpg") == (HEIGHT, WIDTH)


def test_a_dataset_with_damaged_masks_gives_the_boxes_of_the_others(tmp_path):
    files = ReferFiles(tmp_path)
    del files.instances["annotations"][0]["segmentation"]
    files.instances["annotations"][1]["segmentation"] = [{"size": [1, 1], "counts": "1"}]
    del files.refs[2]["sentences"][0]["sent"]
    files.write()
    triplets, log = read(
        "refer", annotations=files.annotations, sizes=read_sizes_in_folder(files.images)
    )
    assert len(triplets) == 18 - 2 - 2 - 1
    assert [(d.place, d.kind) for d in log.defects[:3]] == [
        ("ref 1", "unusable annotations"),
        ("ref 2", "unreadable masks"),
        ("ref 3", "empty sentence"),
    ]


@pytest.mark.parametrize("wrong", [{"annotations": Path("a")}, {}])
def test_a_format_says_what_it_needs(wrong):
    with pytest.raises(ValueError, match="rsvg-hr needs --split"):
        read("rsvg-hr", **wrong)
