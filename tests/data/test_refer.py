import logging
from functools import partial

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from refer_files import HEIGHT, WIDTH, ReferFiles, rle, square

from cadformer_d2.data.class_names import OBJECT_NAMES
from cadformer_d2.data.expression_roles import find_position_spans
from cadformer_d2.data.queries import (
    query_every_expression,
    query_with_other_expressions,
    query_without_words,
)
from cadformer_d2.data.refer import load_refer_records


@pytest.fixture
def files(tmp_path):
    return ReferFiles(tmp_path)


def load(files, split="train", **options):
    return load_refer_records(files.annotations, files.images, split=split, **options)


def test_records_join_by_id_whatever_the_order(files):
    files.instances["annotations"].reverse()
    files.instances["images"].reverse()
    records = load(files.write())
    assert [record["ref_id"] for record in records] == [1, 4, 7]
    first = records[0]
    assert first["file_name"].endswith("1.jpg")
    mask = coco_mask.decode(first["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(mask, square(5, 5))
    assert first["annotations"][0]["bbox"] == [5, 5, 15, 15]  # x1, y1, x2, y2 of the mask
    assert first["category_id"] == 1 and len(first["expressions"]) == 2


def drop_annotation(files):
    files.instances["annotations"].pop(0)


def empty_mask(files):
    files.instances["annotations"][0]["segmentation"] = [rle(np.zeros((HEIGHT, WIDTH), np.uint8))]


def other_size(files):
    files.instances["annotations"][0]["segmentation"] = [rle(np.ones((8, 8), np.uint8))]


def damaged_runs(files):
    files.instances["annotations"][0]["segmentation"][0]["counts"] += "0000"


def missing_image(files):
    files.instances["images"][0]["file_name"] = "gone.jpg"
    (files.images / "gone.jpg").unlink(missing_ok=True)


def empty_expression(files):
    files.refs[0]["sentences"][0]["sent"] = "  "


def flat_polygon(files):
    files.instances["annotations"][0]["segmentation"] = [5, 5, 15, 5, 15, 15]


def size_null(files):
    files.instances["annotations"][0]["segmentation"][0]["size"] = None


def corner_at_infinity(files):
    files.instances["annotations"][0]["segmentation"] = [[5, 5, float("inf"), 5, 15, 15]]


def image_too_large(files):
    files.instances["annotations"][0]["segmentation"] = []
    files.instances["images"][0].update(height=40_000, width=40_000)


def several_targets(files):
    files.refs[0].update(ann_id=[1, 2], category_id=[1, 2])


def no_target(files):
    files.refs[0].update(ann_id=[-1], category_id=[-1], no_target=True)


def no_target_with_an_id(files):
    files.refs[0].update(no_target=True)


def id_without_a_hash(files):
    files.refs[0]["image_id"] = {"id": 1}


def sentences_null(files):
    files.refs[0]["sentences"] = None


def sentence_that_is_no_text(files):
    files.refs[0]["sentences"][1]["sent"] = 7


def sentence_of_half_a_pair(files):
    files.refs[0]["sentences"][1]["sent"] = "the \ud800 pool"


def sentence_of_control_characters(files):
    files.refs[0]["sentences"][1]["sent"] = "\0\u200b"


def name_that_leads_out(files):
    files.instances["images"][0]["file_name"] = "../JPEGImages/1.jpg"


def absolute_name(files):
    files.instances["images"][0]["file_name"] = str(files.images / "1.jpg")


def twice(files):
    files.refs.append(files.refs[0])


def unknown_split(files):
    files.refs[0]["split"] = "trian"


DEFECTS = {
    drop_annotation: "ref 1 points to annotation 1, which is not in instances.json",
    empty_mask: "ref 1 has an empty mask",
    other_size: r"ref 1 .*annotation 1: mask of size \[8, 8\].* on an image of \[40, 60\]",
    damaged_runs: "ref 1 .*mask runs",
    empty_expression: "ref 1 has an empty expression",
    twice: "ref 1 occurs twice",
    unknown_split: "ref 1 has unknown split 'trian'",
    flat_polygon: "ref 1 annotation 1: segmentation holds 5, expected a list of polygons",
    size_null: "ref 1 annotation 1: size is None",
    corner_at_infinity: "ref 1 annotation 1: 2 is inf, it should be a finite number",
    image_too_large: "ref 1 annotation 1: an image of 40000 x 40000 pixels",
    several_targets: r"ref 1 has a list of targets, \[1, 2\], .*\"targets\": \"any\"",
    no_target: r"ref 1 has no target, .*\"targets\": \"any\"",
    no_target_with_an_id: "ref 1 says 'no_target' is True, but its ann_id is 1",
    id_without_a_hash: "ref 1 image_id is {'id': 1}",
    sentences_null: "ref 1 sentences is None",
    sentence_that_is_no_text: "ref 1 has a sentence that sent is 7",
    sentence_of_half_a_pair: "ref 1 has a sentence that sent is .* unicode string",
    sentence_of_control_characters: "ref 1 has an empty expression",
    name_that_leads_out: r"ref 1 needs an image, but the file name '\.\./.* leads out of",
    absolute_name: "ref 1 needs an image, but the file name '/.* leads out of its folder",
}


@pytest.mark.parametrize("damage", DEFECTS, ids=lambda damage: damage.__name__)
def test_an_unusable_record_is_an_error_naming_file_and_id(files, damage):
    damage(files)
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: " + DEFECTS[damage]):
        load(files.write())


@pytest.mark.parametrize("damage", DEFECTS, ids=lambda damage: damage.__name__)
def test_lenient_mode_skips_counts_and_names_it(files, damage, caplog):
    damage(files)
    with caplog.at_level(logging.WARNING):
        records = load(files.write(), lenient=True)
    assert len(records) == (3 if damage is twice else 2)
    assert "skipped 1 records" in caplog.text and "ref 1" in caplog.text


def test_one_id_is_one_whether_as_a_number_or_as_its_digits(files):
    files.instances["images"][0]["id"] = "1"
    files.refs[3]["ann_id"] = "4"
    assert [record["ref_id"] for record in load(files.write())] == [1, 4, 7]


@pytest.mark.parametrize("of", ["images", "annotations", "categories"])
def test_an_id_that_occurs_twice_is_named(files, of):
    files.instances[of].append({**files.instances[of][0], "segmentation": []})
    with pytest.raises(ValueError, match=rf"instances\.json: {of}: id 1 occurs twice"):
        load(files.write())
    assert len(load(files, lenient=True)) == 3


def test_what_no_ref_needs_is_not_looked_at(files):
    files.instances["annotations"].append({"id": 99, "segmentation": None})
    files.instances["images"].append({"id": 99, "file_name": "../x.jpg"})
    assert len(load(files.write())) == 3


def test_a_byte_order_mark_is_no_content(files):
    files.write()
    path = files.annotations / "instances.json"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert len(load(files)) == 3


@pytest.mark.parametrize("text", ["[" * 10_000 + "]" * 10_000, "1" * 5000, "\xff", ""])
def test_json_that_no_reader_can_take_is_named(files, text):
    files.write()
    (files.annotations / "instances.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"instances\.json: "):
        load(files)


def test_a_missing_image_file_is_named(files):
    files.write()
    (files.images / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"ref 4 needs .*2\.jpg, which is missing"):
        load(files)


def test_json_cut_in_half_is_named(files):
    files.write()
    path = files.annotations / "instances.json"
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"instances\.json: not valid JSON"):
        load(files)


def test_an_empty_split_says_which_splits_there_are(files):
    files.refs = [ref for ref in files.refs if ref["split"] != "val"]
    with pytest.raises(ValueError, match="no usable ref of split 'val'; it has test, train"):
        load(files.write(), split="val")


@pytest.mark.parametrize(
    ("of", "key", "message"),
    [
        (
            "annotations",
            "segmentation",
            "ref 1 points to annotation 1, which has no 'segmentation'",
        ),
        ("images", "height", "ref 1 points to image 1, which has no 'height'"),
        ("sentences", "sent_id", "ref 1 has a sentence that has no 'sent_id'"),
    ],
)
def test_an_incomplete_entry_is_named_and_skipped_in_lenient_mode(files, of, key, message):
    entries = files.refs[0]["sentences"] if of == "sentences" else files.instances[of]
    del entries[0][key]
    with pytest.raises(ValueError, match=message):
        load(files.write())
    assert 1 not in [record["ref_id"] for record in load(files, lenient=True)]


@pytest.mark.parametrize("of", ["images", "annotations", "categories"])
def test_an_entry_without_an_id_is_named(files, of):
    del files.instances[of][1]["id"]
    with pytest.raises(ValueError, match=rf"instances\.json: {of}: entry 1 has no 'id'"):
        load(files.write())


def test_evaluation_asks_every_sentence_once(files):
    records = query_every_expression(load(files.write(), split="test"))
    assert [record["sent_id"] for record in records] == [4, 5, 10, 11, 16, 17]
    assert all(len(record["expressions"]) == 1 for record in records)


def test_shuffling_asks_about_another_target_of_the_same_image(files):
    for ref in files.refs:
        ref["split"] = "test"
        for sentence in ref["sentences"]:
            sentence["sent"] = f"target {ref['ref_id']}"
    records = load(files.write(), split="test")
    image_of = {f"target {record['ref_id']}": record["image_id"] for record in records}
    for shuffled in query_with_other_expressions(records):
        (expression,) = shuffled["expressions"]
        assert expression != f"target {shuffled['ref_id']}"
        assert image_of[expression] == shuffled["image_id"]
        assert expression == f"target {sentence_owner(files, shuffled['sent_id'])}"


def test_words_for_places_can_be_taken_out_of_every_sentence(files):
    records = load(files.write(), split="test")
    changed = query_without_words(records, find=partial(find_position_spans, names=OBJECT_NAMES))
    # "the storage tank" names no place and is left out.
    assert {record["expressions"][0] for record in changed} == {"the roundabout"}
    assert [record["sent_id"] for record in changed] == [5, 11, 17]


def test_spaces_alone_do_not_make_a_sentence_another(files):
    for ref in files.refs:
        for sentence in ref["sentences"]:
            sentence["sent"] += " "
    records = load(files.write(), split="test")
    changed = query_without_words(records, find=partial(find_position_spans, names=OBJECT_NAMES))
    assert [record["sent_id"] for record in changed] == [5, 11, 17]


def test_two_sentences_of_one_id_are_an_error(files):
    first, second = files.refs[0]["sentences"][:2]
    second["sent_id"] = first["sent_id"]
    with pytest.raises(ValueError, match="has two sentences with one sent_id"):
        load(files.write(), split=files.refs[0]["split"])


def sentence_owner(files, sent_id):
    """The ref whose sentence it is."""
    return next(ref["ref_id"] for ref in files.refs if sent_id in ref["sent_ids"])
