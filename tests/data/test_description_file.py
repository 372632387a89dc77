import json
import re

import pytest
from detectron2.data import MetadataCatalog
from refer_files import ReferFiles

from cadformer_d2.data.catalog import find_dataset, load_dataset_records, register_datasets


def described(tmp_path, **content):
    files = ReferFiles(tmp_path, name="mydata").write()
    (files.annotations / "dataset.json").write_text(json.dumps(content))
    return files


def test_a_folder_with_a_description_is_registered_without_a_line_of_code(tmp_path):
    described(tmp_path, classes=["field", "court"], counts={"train": 3})
    assert {"mydata_train", "mydata_test_shuffled", "mydata_test_other_scenes"} <= set(
        register_datasets(tmp_path)
    )
    assert len(load_dataset_records("mydata_train")) == 3
    assert MetadataCatalog.get("mydata_train").thing_classes == ["field", "court"]
    assert find_dataset("mydata", tmp_path).published_counts == {"train": 3}


def said(tmp_path, sentence):
    """A dataset of the classes windsock and court, all of whose sentences are one."""
    files = ReferFiles(tmp_path, name="mydata")
    for ref in files.refs:
        for entry in ref["sentences"]:
            entry["sent"] = sentence
    files.write()
    (files.annotations / "dataset.json").write_text('{"classes": ["windsock", "court"]}')
    register_datasets(tmp_path)


def test_its_categories_can_be_taken_out_of_its_sentences(tmp_path):
    said(tmp_path, "the left windsock near the pier")
    records = load_dataset_records("mydata_test_no_categories")
    assert {record["expressions"][0] for record in records} == {"the left near the pier"}


def test_sentences_without_any_such_word_are_an_error(tmp_path):
    said(tmp_path, "the left one")
    with pytest.raises(ValueError, match="none of 6 expressions has both such words"):
        load_dataset_records("mydata_test_no_categories")


def test_a_folder_without_one_is_unknown_and_the_error_says_what_to_do(tmp_path):
    ReferFiles(tmp_path, name="mydata").write()
    with pytest.raises(ValueError, match="unknown dataset 'mydata'; known: .*dataset.json"):
        find_dataset("mydata", tmp_path)


def test_the_projects_own_datasets_are_not_redefined(tmp_path):
    files = ReferFiles(tmp_path).write()
    (files.annotations / "dataset.json").write_text('{"classes": ["other"]}')
    assert "other" not in find_dataset("synthrs", tmp_path).classes


BROKEN = {
    "{}": "'classes' is \\[\\]",
    '{"classes": []}': "classes is \\[\\]",
    '{"classes": ["a", 1]}': "classes.1 is 1, it should be a valid string",
    '{"classes": ["a", " "]}': "classes.1 is ' '",
    '{"classes": ["a b", "A-b"]}': "expected distinct names",
    '{"classes": ["a"], "count": {}}': "count is {}",
    '{"classes": ["a"], "counts": {"training": 3}}': "counts.training",
    '{"classes": ["a"], "counts": {"train": -3}}': "counts.train is -3",
    '{"classes": ["a"], "counts": {"train": true}}': "counts.train is True",
    "[]": "is \\[\\]",
    "{": "not valid JSON",
    "[" * 10_000: "nested too deeply",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_description_stops_only_those_who_ask_for_it(tmp_path, content, caplog):
    ReferFiles(tmp_path).write()
    (described(tmp_path).annotations / "dataset.json").write_text(content)
    named = rf"mydata.dataset\.json: .*{BROKEN[content]}"
    assert "mydata_train" in register_datasets(tmp_path)
    assert len(load_dataset_records("synthrs_train")) == 3
    register_datasets(tmp_path)
    assert find_dataset("synthrs", tmp_path).name == "synthrs"
    assert len(re.findall("mydata is not usable: .*dataset", caplog.text)) == 1
    for load in (
        lambda: load_dataset_records("mydata_train"),
        lambda: find_dataset("mydata", tmp_path),
    ):
        with pytest.raises(ValueError, match=named):
            load()


def test_names_that_differ_in_punctuation_are_two(tmp_path):
    described(tmp_path, classes=["C", "C++"])
    assert find_dataset("mydata", tmp_path).classes == ("C", "C++")


def test_a_byte_order_mark_is_no_content(tmp_path):
    files = described(tmp_path)
    (files.annotations / "dataset.json").write_text('\ufeff{"classes": ["a"]}', encoding="utf-8")
    assert find_dataset("mydata", tmp_path).classes == ("a",)
