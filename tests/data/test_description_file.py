import json

import pytest
from detectron2.data import MetadataCatalog
from refer_files import ReferFiles

from cadformer_d2.data.catalog import dataset_records, find_dataset, register_datasets


def described(tmp_path, **content):
    files = ReferFiles(tmp_path, name="mydata").write()
    (files.annotations / "dataset.json").write_text(json.dumps(content))
    return files


def test_a_folder_with_a_description_is_registered_without_a_line_of_code(tmp_path):
    described(tmp_path, classes=["field", "court"], counts={"train": 3})
    assert {"mydata_train", "mydata_val", "mydata_test_shuffled"} <= set(
        register_datasets(tmp_path)
    )
    assert len(dataset_records("mydata_train")) == 3
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
    records = dataset_records("mydata_test_no_categories")
    assert {record["expressions"][0] for record in records} == {"the left near the pier"}


def test_sentences_without_any_such_word_are_an_error(tmp_path):
    said(tmp_path, "the left one")
    with pytest.raises(ValueError, match="none of 6 sentences has such words"):
        dataset_records("mydata_test_no_categories")


def test_a_folder_without_one_is_unknown_and_the_error_says_what_to_do(tmp_path):
    ReferFiles(tmp_path, name="mydata").write()
    with pytest.raises(ValueError, match="unknown dataset 'mydata'; known: .*dataset.json"):
        find_dataset("mydata", tmp_path)


def test_the_projects_own_datasets_are_not_redefined(tmp_path):
    files = ReferFiles(tmp_path).write()
    (files.annotations / "dataset.json").write_text('{"classes": ["other"]}')
    assert "other" not in find_dataset("synthrs", tmp_path).classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "'classes' is None"),
        ({"classes": []}, "'classes' is \\[\\]"),
        ({"classes": ["a", 1]}, "expected a list of names"),
        ({"classes": ["a"], "count": {}}, "unknown key 'count'"),
        ({"classes": ["a"], "counts": {"training": 3}}, "'counts' is {'training': 3}"),
    ],
)
def test_a_broken_description_names_file_and_key(tmp_path, content, message):
    described(tmp_path, **content)
    with pytest.raises(ValueError, match=rf"mydata.dataset\.json: .*{message}"):
        register_datasets(tmp_path)
