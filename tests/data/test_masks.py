import numpy as np
import pytest
from detectron2.structures import BoxMode
from pycocotools import mask as coco_mask
from refer_files import HEIGHT, WIDTH, rle, square

from cadformer_d2.data.masks import (
    MOST_PIXELS,
    count_run_pixels,
    make_annotation,
    merge_segmentation,
)


def united(segmentation):
    return merge_segmentation(segmentation, height=HEIGHT, width=WIDTH)


def test_all_kinds_of_segmentation_give_the_same_mask():
    mask = square(5, 5)
    polygon = [[5, 5, 15, 5, 15, 15, 5, 15]]
    uncompressed = coco_mask.decode(coco_mask.encode(np.asfortranarray(mask)))
    runs = np.diff(np.flatnonzero(np.diff(uncompressed.flatten("F"), prepend=0)), prepend=0)
    counts = [*runs.tolist(), HEIGHT * WIDTH - int(runs.sum())]
    as_bytes = {**rle(mask), "counts": rle(mask)["counts"].encode()}
    kinds = [rle(mask), [rle(mask)], polygon, {"size": [HEIGHT, WIDTH], "counts": counts}, as_bytes]
    for segmentation in kinds:
        np.testing.assert_array_equal(coco_mask.decode(united(segmentation)), mask)


def test_overlapping_parts_are_united_and_not_counted_twice():
    parts = [rle(square(5, 5)), rle(square(10, 10))]
    assert coco_mask.area(united(parts)) == 100 + 100 - 25


def test_no_parts_are_an_empty_mask():
    assert coco_mask.decode(united([])).shape == (HEIGHT, WIDTH)
    assert coco_mask.area(united([])) == 0


def test_a_polygon_past_the_border_is_cut_as_a_polygon():
    # Its corners set back to the border one by one would give a triangle of half the image.
    far = [[-WIDTH, 0, WIDTH, 0, WIDTH, 2 * HEIGHT]]
    canvas = merge_segmentation(
        [[0, HEIGHT, 2 * WIDTH, HEIGHT, 2 * WIDTH, 3 * HEIGHT]], height=3 * HEIGHT, width=2 * WIDTH
    )
    inside = coco_mask.decode(canvas)[HEIGHT : 2 * HEIGHT, WIDTH:]
    assert (coco_mask.decode(united(far)) != inside).mean() < 0.02


@pytest.mark.parametrize("seed", range(20))
def test_run_total_agrees_with_the_decoder(seed):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) > 0.9 - 0.04 * seed
    assert count_run_pixels(rle(mask.astype(np.uint8))["counts"].encode()) == HEIGHT * WIDTH


def damaged(counts, size=(HEIGHT, WIDTH)):
    return {"size": size, "counts": counts}


SEVERAL_LAPS = [coordinate for lap in range(9) for coordinate in (-9e5, lap, 9e5, lap)]
UNUSABLE = {
    "no number": ([[float("nan"), 5, 15, 5, 15, 15]], "0 is nan, it should be a finite number"),
    "infinity": ([[5, 5, float("-inf"), 5, 15, 15]], "2 is -inf"),
    "a corner at 2e8": ([[5, 5, 2e8, 5, 15, 15]], "less than or equal to 1000000"),
    "a corner of null": ([[5, 5, None, 5, 15, 15]], "2 is None, it should be a valid number"),
    "an outline without end": ([SEVERAL_LAPS], "an outline of .* pixels, longer than"),
    "two corners": ([[5, 5, 15, 5]], "at least 6 items"),
    "half a corner": ([[5, 5, 15, 5, 15, 15, 5]], "polygon of 7 numbers"),
    "a flat list": ([5, 5, 15, 5, 15, 15], "segmentation holds 5"),
    "null in a list": ([None], "segmentation holds None"),
    "null": (None, "segmentation is None"),
    "a text": ("12", "segmentation is '12'"),
    "another size": (rle(np.ones((8, 8), np.uint8)), r"mask of size \[8, 8\].* of \[40, 60\]"),
    "a size of null": (damaged("0", None), "size is None"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "has no 'counts'"),
    "counts of null": (damaged(None), "is None, it should be a valid bytes"),
    "runs too short": (damaged([5, 10]), "do not add up"),
    "a negative run": (damaged([HEIGHT * WIDTH + 10, -10]), "greater than or equal to 0"),
    "no runs": (damaged([]), "do not add up"),
    "a run too long": (damaged([2**40]), "less than or equal to"),
    "no characters": (damaged(""), "not compressed run lengths"),
    "other characters": (damaged("é~"), "not compressed run lengths"),
    "a number cut off": (damaged("P"), "end in the middle of a number"),
    "digits that never end": (damaged("P" * 10**6 + "0"), "mask run is longer than any image"),
    "a compressed negative run": (damaged("O"), "run has a negative length"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_the_decoder_must_not_see_is_refused_before_it(kind):
    segmentation, message = UNUSABLE[kind]
    with pytest.raises(ValueError, match=message):
        united(segmentation)


@pytest.mark.parametrize("size", [(40_000, 40_000), (0, 5), (-1, 5), ("40", 60), (None, 5)])
def test_an_image_of_no_usable_size_takes_no_memory(size):
    with pytest.raises(ValueError, match="an image of .* pixels"):
        merge_segmentation([], height=size[0], width=size[1])


def test_the_largest_and_the_smallest_image_are_taken():
    largest = merge_segmentation([], height=2**14, width=MOST_PIXELS // 2**14)
    assert coco_mask.area(largest) == 0 and largest["size"] == [2**14, 2**14]
    assert coco_mask.area(merge_segmentation([[0, 0, 1, 0, 1, 1, 0, 1]], height=1, width=1)) == 1
    with pytest.raises(ValueError, match="16384 x 16385 pixels; at most 268435456"):
        merge_segmentation([], height=2**14, width=2**14 + 1)


def test_a_run_has_seven_digits_at_most():
    assert count_run_pixels(b"P" * 6 + b"0") == 0
    with pytest.raises(ValueError, match="longer than any image"):
        count_run_pixels(b"P" * 7 + b"0")


def test_an_annotation_has_the_box_around_its_mask():
    mask = rle(square(5, 8))
    assert make_annotation(mask, category_id=3) == {
        "segmentation": mask,
        "bbox": [8, 5, 18, 15],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 3,
        "iscrowd": 0,
    }
