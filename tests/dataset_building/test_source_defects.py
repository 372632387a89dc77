"""Damaged entries, turned pictures and spreadsheets' traces: named, and never a crash."""

import json

import numpy as np
import pytest
from PIL import ExifTags, Image
from refer_files import ReferFiles
from source_files import POOL, coco_source, read, read_coco, read_lines, xml

from cadformer_d2.dataset_building.readers import fixed_size, read_sizes_in_folder


@pytest.mark.parametrize(
    ("annotation", "sentences"),
    [
        ({"captions": "the red roof"}, ["the red roof"]),
        ({"caption": ["one", "two"]}, ["one", "two"]),
        ({"captions": None}, ["a pool"]),
        ({"captions": []}, ["a pool"]),
        ({"captions": ["one", 2, None]}, ["one"]),
        ({"caption": 3}, []),
        ({"caption": {"text": "a pool"}}, []),
        ({"caption": None}, []),
        ({"caption": "half \ud800 a pair"}, []),
    ],
)
def test_a_caption_is_a_text_or_a_list_of_texts_and_all_else_a_defect(
    tmp_path, annotation, sentences
):
    triplets, log = read_coco(tmp_path, annotation=annotation)
    assert [triplet.sentence for triplet in triplets] == sentences
    num_given = len(annotation["captions"] or "1") if "captions" in annotation else 1
    if not sentences or num_given == 3:
        assert {d.place for d in log.defects} == {"annotation 7"}


@pytest.mark.parametrize(
    ("what", "change", "kind", "place"),
    [
        ("image", {"file_name": None}, "unusable image", "image 1"),
        ("image", {"id": None}, "unusable image", "image at position 0"),
        ("image", {"id": [1]}, "unusable image", "image [1]"),
        ("image", {"file_name": "../../etc/x.jpg"}, "unusable image", "annotation 7"),
        ("image", {"file_name": "/etc/x.jpg"}, "unusable image", "annotation 7"),
        ("image", {"file_name": "a\\..\\..\\x.jpg"}, "unusable image", "annotation 7"),
        ("image", {"file_name": "x\0.jpg"}, "unusable image", "annotation 7"),
        ("image", {"height": "tall"}, "unusable image", "image 1"),
        ("image", {"height": 10**12}, "another image size", "annotation 7"),
        ("image", {"height": 200, "width": 300}, "another image size", "annotation 7"),
        ("category", {"name": None}, "unusable category", "category 1"),
        ("annotation", {"image_id": "1"}, "no such image", "annotation 7"),
        ("annotation", {"bbox": [1, 2, float("nan"), 4]}, "coordinates of no image", None),
        ("annotation", {"bbox": [1, 2, float("inf"), 4]}, "coordinates of no image", None),
        ("annotation", {"bbox": [1, 2, 2e8, 4]}, "coordinates of no image", None),
        ("annotation", {"bbox": [1, 2, 10**400, 4]}, None, None),
        ("annotation", {"bbox": ["1", 2, 3, 4]}, "no four numbers", None),
        ("annotation", {"bbox": None}, "no four numbers", None),
        ("annotation", {"category_id": 9}, "no such category", None),
        ("annotation", {"category_id": [1]}, "unusable annotation", None),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(tmp_path, what, change, kind, place):
    _, log = read_coco(tmp_path, sizes={POOL: (400, 600)}.get, **{what: change})
    assert kind is None or log.defects[0].kind == kind
    assert log.defects[0].place == (place or "annotation 7")


@pytest.mark.parametrize(
    ("key", "value", "is_read"),
    [("categories", None, True), ("categories", {}, True), ("categories", 5, False)]
    + [("annotations", None, False), ("images", {}, False)],
)
def test_lists_that_are_none_are_missing_or_said_to_be(tmp_path, key, value, is_read):
    file, content = coco_source(tmp_path)
    file.write_text(json.dumps(content | {key: value}))
    if is_read:
        assert read("coco", sizes=fixed_size(400, 600), train=file)[0][0].category == "object"
    else:
        with pytest.raises(ValueError, match=rf"train\.json: .*'{key}'"):
            read("coco", sizes=fixed_size(400, 600), train=file)


def test_of_two_images_of_one_id_the_first_counts_and_the_second_is_named(tmp_path):
    file, content = coco_source(tmp_path)
    content["images"].append({"id": 1, "file_name": "other.jpg"})
    file.write_text(json.dumps(content))
    (triplet,), log = read("coco", sizes=fixed_size(400, 600), train=file)
    assert triplet.image == POOL
    assert log.counts() == {("id occurs twice", "set aside"): 1}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ('"a pool, left of a road"', "a pool, left of a road"),
        ('"the ""big"" pool"', 'the "big" pool'),
        ('the "big" pool', 'the "big" pool'),
        ("\ufeffa pool", "a pool"),
        ("a \x1b[31mpool\x00", "a [31mpool"),
    ],
)
def test_a_spreadsheets_quotes_and_unseen_characters_are_no_part_of_a_sentence(
    tmp_path, written, sentence
):
    for (triplet,), log in (
        read_lines(tmp_path, f"{POOL},1,2,30,40,{written}"),
        read_coco(tmp_path, annotation={"caption": written}),
    ):
        assert triplet.sentence == sentence
        assert ("quotes or unseen characters" in {d.kind for d in log.defects}) == (
            written != sentence
        )


def test_a_byte_order_mark_or_quotes_around_a_name_do_not_lose_its_line(tmp_path):
    triplets, log = read_lines(
        tmp_path, f"\ufeff{POOL},1,2,30,40,a pool", f'"{POOL}","1","2","30","41","a pool, left"'
    )
    assert [(t.image, t.box_xyxy[3]) for t in triplets] == [(POOL, 40), (POOL, 41)]
    assert [d.place for d in log.defects if d.action == "repaired"] == ["line 2"]
    sizes = {POOL: (400, 600)}.get
    for name in (f'"{POOL}"', f"\ufeff{POOL}", f" {POOL}"):
        (triplet,), log = read_coco(tmp_path, sizes=sizes, image={"file_name": name})
        assert triplet.image == POOL
        assert [defect.kind for defect in log.defects] == ["image's name not plain"]


def save_turned(path, orientation=6):
    """A JPEG that stores 60 x 40 pixels (width x height) and is shown as 40 x 60."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.mark.parametrize(
    ("stated", "box", "kinds"),
    [
        ((60, 40), [5, 30, 30, 28], []),
        ((None, None), [5, 30, 30, 28], []),
        ((40, 60), [5, 30, 30, 28], ["another image size"]),  # fits the turned picture alone
        ((40, 60), [5, 3, 50, 8], None),  # fits the stored one
        ((30, 20), [5, 3, 8, 8], None),  # a copy of half the size
        ((30, 20), [5, 3, 30, 50], None),
    ],
)
def test_boxes_are_those_of_the_picture_as_exif_turns_it(tmp_path, stated, box, kinds):
    save_turned(tmp_path / "a.jpg")
    image = {"file_name": "a.jpg", "height": stated[0], "width": stated[1]}
    triplets, log = read_coco(
        tmp_path, sizes=read_sizes_in_folder(tmp_path), image=image, annotation={"bbox": box}
    )
    if kinds is None:
        assert not triplets and log.counts() == {("another image size", "set aside"): 1}
        assert "40 x 60 pixels (turned as its EXIF data say)" in log.defects[0].detail
    else:
        x, y, width, height = box
        assert triplets[0].box_xyxy == (x, y, x + width, y + height)
        assert [defect.kind for defect in log.defects] == kinds


def test_an_image_that_cannot_be_read_costs_its_own_boxes_alone(tmp_path):
    (tmp_path / POOL).write_bytes(b"no image")
    triplets, log = read_coco(tmp_path, sizes=read_sizes_in_folder(tmp_path))
    assert not triplets and log.defects[0].kind == "unusable image"


def test_a_box_of_an_xml_file_with_another_image_size_is_set_aside(tmp_path):
    text = xml("1.jpg", ("dam", (1, 2, 30, 40), "a dam"))
    size = "<size><width> 512</width><height>512 </height></size>"
    (tmp_path / "1.xml").write_text(text.replace("<object>", f"{size}<object>"))
    (tmp_path / "train.txt").write_text("\ufeff0\n²\n" + "9" * 5000)
    options = {"annotations": tmp_path, "train": tmp_path / "train.txt"}
    assert len(read("dior-rsvg", sizes=fixed_size(512, 512), **options)[0]) == 1
    triplets, log = read("dior-rsvg", **options)
    assert not triplets and log.counts()["another image size", "set aside"] == 1
    assert log.counts()["not a number", "set aside"] == 2


def test_an_xml_file_of_an_encoding_nobody_knows_is_named(tmp_path):
    (tmp_path / "1.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')
    (tmp_path / "train.txt").write_text("0\n")
    with pytest.raises(ValueError, match=r"1\.xml: not valid XML"):
        read("dior-rsvg", annotations=tmp_path, train=tmp_path / "train.txt")


def test_damaged_refs_and_entries_cost_themselves_alone(tmp_path):
    files = ReferFiles(tmp_path)
    files.refs[0]["ann_id"] = "one"
    files.refs[1]["sentences"][0]["sent"] = 5
    files.instances["images"].append({"file_name": "without_id.jpg"})
    files.write()
    sizes = read_sizes_in_folder(files.images)
    triplets, log = read("refer", annotations=files.annotations, sizes=sizes)
    assert len(triplets) == 18 - 2 - 1
    assert {defect.kind for defect in log.defects if defect.action == "set aside"} == {
        "unusable entries",
        "unusable refs",
        "sentence is not a text",
    }
