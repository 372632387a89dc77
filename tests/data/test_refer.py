import logging
import os
import pickle
from functools import partial

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from refer_files import HEIGHT, WIDTH, ReferFiles, rle, square

from cadformer_d2.data.asking import ask_about_another, ask_every_sentence, ask_without
from cadformer_d2.data.catalog import OBJECT_NAMES
from cadformer_d2.data.masks import run_total, united_mask
from cadformer_d2.data.refer import load_refer_records
from cadformer_d2.data.sentence_roles import position_spans


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


def test_all_kinds_of_segmentation_give_the_same_mask():
    mask = square(5, 5)
    polygon = [[5, 5, 15, 5, 15, 15, 5, 15]]
    uncompressed = coco_mask.decode(coco_mask.encode(np.asfortranarray(mask)))
    runs = np.diff(np.flatnonzero(np.diff(uncompressed.flatten("F"), prepend=0)), prepend=0)
    counts = [*runs.tolist(), HEIGHT * WIDTH - int(runs.sum())]
    kinds = [rle(mask), [rle(mask)], polygon, {"size": [HEIGHT, WIDTH], "counts": counts}]
    for segmentation in kinds:
        decoded = coco_mask.decode(united_mask(segmentation, height=HEIGHT, width=WIDTH))
        np.testing.assert_array_equal(decoded, mask)


def test_overlapping_parts_are_united_and_not_counted_twice():
    parts = [rle(square(5, 5)), rle(square(10, 10))]
    united = united_mask(parts, height=HEIGHT, width=WIDTH)
    assert coco_mask.area(united) == 100 + 100 - 25


@pytest.mark.parametrize("seed", range(20))
def test_run_total_agrees_with_the_decoder(seed):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > 0.9 - 0.04 * seed
    assert run_total(rle(mask.astype(np.uint8))["counts"].encode()) == HEIGHT * WIDTH


class Malicious:
    def __reduce__(self):
        return os.system, ("touch should-not-exist",)


def test_a_pickle_that_runs_code_is_refused_by_name_and_runs_nothing(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.refs.append(Malicious())
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: refused .* asks for posix\.system"):
        load(files.write())
    assert not (tmp_path / "should-not-exist").exists()


def test_a_python_2_pickle_with_latin_1_strings_is_read(files):
    files.write()
    refs = pickle.dumps(files.refs, protocol=2)
    # Protocol 2 of Python 2 wrote byte strings: 'U' SHORT_BINSTRING instead of 'X' BINUNICODE.
    accented = b"X\x10\x00\x00\x00the storage tank"
    assert accented in refs
    refs = refs.replace(accented, b"U\x10the storage t\xe1nk", 1)
    (files.annotations / "refs(unc).p").write_bytes(refs)
    assert load(files)[0]["expressions"][0] == "the storage tánk"


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


def twice(files):
    files.refs.append(files.refs[0])


def unknown_split(files):
    files.refs[0]["split"] = "trian"


DEFECTS = {
    drop_annotation: "ref 1 points to annotation 1, which instances.json lacks",
    empty_mask: "ref 1 has an empty mask",
    other_size: r"ref 1 .*annotation 1: mask of size \[8, 8\].* on an image of \[40, 60\]",
    damaged_runs: "ref 1 .*its runs",
    empty_expression: "ref 1 has an empty expression",
    twice: "ref 1 occurs twice",
    unknown_split: "ref 1 has unknown split 'trian'",
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


def test_categories_are_matched_by_name_in_any_spelling(files):
    files.instances["categories"][1]["name"] = "Tennis-Court"
    classes = ("airplane", "tennis court", "baseball field")
    records = load(files.write(), classes=classes)
    # Ref 1 has the file's category 2, ref 4 its category 1.
    assert [(record["ref_id"], classes[record["category_id"]]) for record in records[:2]] == [
        (1, "tennis court"),
        (4, "baseball field"),
    ]


def test_a_category_that_the_dataset_does_not_have_is_refused(files):
    with pytest.raises(ValueError, match=r"instances\.json: category 'tennis court' is none of"):
        load(files.write(), classes=("baseball field", "ship", "dam"))


def test_a_complete_file_under_other_names_is_taken_in_order_and_says_so(files, caplog):
    records = load(files.write(), classes=("diamond", "tennis court"))
    assert [record["category_id"] for record in records] == [1, 0, 1]
    assert "'baseball field' is none of the known ones" in caplog.text


@pytest.mark.parametrize(
    ("of", "key", "message"),
    [
        (
            "annotations",
            "segmentation",
            "ref 1 points to annotation 1, which has no 'segmentation'",
        ),
        ("images", "height", "ref 1 points to image 1, which has no 'height'"),
        ("sentences", "sent_id", "ref 1 has a sentence without 'sent_id'"),
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
    with pytest.raises(ValueError, match=rf"instances\.json: {of}: entry 1 lacks id"):
        load(files.write())


def test_evaluation_asks_every_sentence_once(files):
    records = ask_every_sentence(load(files.write(), split="test"))
    assert [record["sent_id"] for record in records] == [4, 5, 10, 11, 16, 17]
    assert all(len(record["expressions"]) == 1 for record in records)


def test_shuffling_asks_about_another_target_of_the_same_image(files):
    for ref in files.refs:
        ref["split"] = "test"
        for sentence in ref["sentences"]:
            sentence["sent"] = f"target {ref['ref_id']}"
    records = load(files.write(), split="test")
    image_of = {f"target {record['ref_id']}": record["image_id"] for record in records}
    for shuffled in ask_about_another(records):
        (expression,) = shuffled["expressions"]
        assert expression != f"target {shuffled['ref_id']}"
        assert image_of[expression] == shuffled["image_id"]
        assert expression == f"target {sentence_owner(files, shuffled['sent_id'])}"


def test_words_for_places_can_be_taken_out_of_every_sentence(files):
    records = load(files.write(), split="test")
    changed = ask_without(records, find=partial(position_spans, names=OBJECT_NAMES))
    # "the storage tank" names no place and is left out.
    assert {record["expressions"][0] for record in changed} == {"the roundabout"}
    assert [record["sent_id"] for record in changed] == [5, 11, 17]


def test_spaces_alone_do_not_make_a_sentence_another(files):
    for ref in files.refs:
        for sentence in ref["sentences"]:
            sentence["sent"] += " "
    records = load(files.write(), split="test")
    changed = ask_without(records, find=partial(position_spans, names=OBJECT_NAMES))
    assert [record["sent_id"] for record in changed] == [5, 11, 17]


def test_two_sentences_of_one_id_are_an_error(files):
    first, second = files.refs[0]["sentences"][:2]
    second["sent_id"] = first["sent_id"]
    with pytest.raises(ValueError, match="has two sentences of one sent_id"):
        load(files.write(), split=files.refs[0]["split"])


@pytest.mark.parametrize("runs", [[5, 10], [HEIGHT * WIDTH + 10, -10], []])
def test_uncompressed_runs_must_fill_the_image(runs):
    with pytest.raises(ValueError, match="do not add up"):
        united_mask({"size": [HEIGHT, WIDTH], "counts": runs}, height=HEIGHT, width=WIDTH)


def sentence_owner(files, sent_id):
    """The ref whose sentence it is."""
    return next(ref["ref_id"] for ref in files.refs if sent_id in ref["sent_ids"])
