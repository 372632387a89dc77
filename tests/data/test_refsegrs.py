import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cadformer_d2.data.refsegrs import load_refsegrs_records


@pytest.fixture
def root(tmp_path):
    """Two images with their masks, and the list of the training split."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, left in (("11", 4), ("12", 20)):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.tif"), np.full((32, 48, 3), 90, np.uint8))
        mask = np.full((32, 48), 127, np.uint8)  # grey, yet not the target
        mask[8:16, left : left + 10] = 128
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.tif"), mask)
    write_list(tmp_path, "11 vehicle in the parking area", "12 road along the grass")
    return tmp_path


def write_list(root, *lines):
    (root / "output_phrase_train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_line_is_a_target_with_the_pixels_above_the_threshold(root):
    first, second = load_refsegrs_records(root, split="train")
    assert first["expressions"] == ["vehicle in the parking area"]
    assert (first["height"], first["width"], first["image_id"]) == (32, 48, 11)
    assert first["annotations"][0]["bbox"] == [4, 8, 14, 16]
    assert coco_mask.area(second["annotations"][0]["segmentation"]) == 80
    assert [record["ref_id"] for record in (first, second)] == [1, 2]


DEFECTS = {
    "13 a tree": "line 3: .*13.tif is missing",
    "11": "line 3: '11' has an empty expression",
    "11x a lone word": "line 3: .*11x.tif is missing",
    "../images/11 a tree": "line 3: the file name '../images/11.tif' leads out of its folder",
    "11 \0": "line 3: '11' has an empty expression",
    f"{'9' * 300} a tree": "line 3: .* is not a file name",
}


@pytest.mark.parametrize("line", DEFECTS)
def test_an_unusable_line_is_named_or_skipped_and_counted(root, line, caplog):
    write_list(root, "11 vehicle", "12 road", line)
    with pytest.raises(ValueError, match=DEFECTS[line]):
        load_refsegrs_records(root, split="train")
    assert len(load_refsegrs_records(root, split="train", lenient=True)) == 2
    assert "skipped 1 records, unusable lines" in caplog.text


def test_an_empty_mask_is_refused(root):
    cv2.imwrite(str(root / "masks" / "12.tif"), np.zeros((32, 48), np.uint8))
    with pytest.raises(ValueError, match=r"line 2: .*12\.tif is empty"):
        load_refsegrs_records(root, split="train")


def test_a_missing_list_says_where_the_tree_is_described(root):
    with pytest.raises(FileNotFoundError, match=r"output_phrase_val\.txt is missing; see data"):
        load_refsegrs_records(root, split="val")


def test_a_byte_order_mark_is_no_part_of_the_first_name(root):
    write_list(root, "\ufeff11 a \u2028 vehicle")  # nor does a line separator end the line
    (record,) = load_refsegrs_records(root, split="train")
    assert record["image_id"] == 11 and record["expressions"] == ["a \u2028 vehicle"]


def test_a_list_in_another_encoding_is_named(root):
    (root / "output_phrase_train.txt").write_bytes(b"11 the t\xe1nk\n")
    with pytest.raises(ValueError, match=r"output_phrase_train\.txt: not UTF-8"):
        load_refsegrs_records(root, split="train")
