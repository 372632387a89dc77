import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pycocotools import mask as coco_mask

from cadformer_d2.visualization import (
    Comparison,
    Prediction,
    draw_answer_sheet,
    draw_comparison_sheet,
    draw_mask,
    enlarge,
    read_comparison,
    save_figure,
    wrap_caption,
)

GREEN = (0.0, 1.0, 0.0)


def grey(height=40, width=60):
    return np.full((height, width, 3), 120, np.uint8)


def test_the_mask_is_tinted_and_the_rest_is_as_it_was():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:40] = True
    drawn = draw_mask(grey(), mask, colour=GREEN, alpha=0.5)
    assert drawn.shape == (400, 600, 3)  # small images are enlarged
    large = mask.repeat(10, axis=0).repeat(10, axis=1)
    assert (drawn[~large] == 120).all()
    assert drawn[200, 250].tolist() == [60, 188, 60]  # halfway from 120 to the colour
    assert drawn[100, 100].tolist() == [0, 255, 0]  # the outline


@pytest.mark.parametrize("pixel", [(0, 0), (5, 7), (499, 699)])
def test_a_mask_of_one_pixel_is_drawn_where_it_is(pixel):
    mask = np.zeros((500, 700), bool)
    mask[pixel] = True
    drawn = draw_mask(np.zeros((500, 700, 3), np.uint8), mask, colour=GREEN)
    assert np.argwhere(drawn[..., 1]).tolist() == [list(pixel)]


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image is \(40, 60\), mask \(4, 4\)"):
        draw_mask(grey(), np.zeros((4, 4), bool), colour=GREEN)


@pytest.mark.parametrize("size", [(1, 6000), (5000, 1), (1, 1), (3, 400), (384, 384), (2, 100_000)])
def test_what_is_drawn_is_bounded_by_its_longer_side(size):
    height, width = enlarge(np.zeros(size, bool)).shape
    assert max(height, width) <= max(2048, *size)
    assert height % size[0] == 0 and height // size[0] == width // size[1]


def test_a_sheet_of_strips_has_a_bounded_size():
    for size in ((1, 6000), (6000, 1)):
        image, mask = np.zeros((*size, 3), np.uint8), np.ones(size, bool)
        figure = draw_answer_sheet(image, [("the road", mask), ("the road", mask)])
        assert max(figure.get_size_inches()) <= 20
        assert len([axis for axis in figure.axes if axis.images]) == 2  # one sentence asked twice


def test_a_figure_keeps_large_images_small():
    side = 3000
    empty = np.zeros((side, side), bool)
    comparison = Comparison(
        np.zeros((side, side, 3), np.uint8), empty, "the tank", {"ours": Prediction(empty, 0.5)}
    )
    figure = draw_comparison_sheet([comparison])
    shown = [axis.images[0].get_array().shape for axis in figure.subfigs[0].axes]
    assert shown == [(1024, 1024, 3)] * 3


def entry(file_name, mask, size=None):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle = {"size": size or list(encoded["size"]), "counts": encoded["counts"].decode()}
    return json.loads(
        json.dumps(
            {
                "file_name": str(file_name),
                "expression": "the pool",
                "target": rle,
                "prediction": rle,
                "iou": 1.0,
            }
        )
    )


@pytest.mark.parametrize("size", [(48, 48), (200, 130), (61, 77)])
def test_an_image_is_brought_to_the_masks_size_as_the_network_sees_it(tmp_path, size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(80, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = rng.random(size) > 0.5
    comparison = read_comparison({"ours": entry(tmp_path / "a.png", mask)})
    wanted = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.abs(comparison.image.astype(int) - np.asarray(wanted)).max() <= 1
    assert (comparison.truth == mask).all()
    assert (comparison.predictions["ours"].mask == mask).all()


def test_a_mask_that_does_not_fill_its_size_is_refused_before_it_is_decoded(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    sample = entry(tmp_path / "a.png", np.ones((10, 10), bool), size=[9, 10])
    with pytest.raises(ValueError, match="do not add up to 9 x 10 pixels"):
        read_comparison({"ours": sample})


def test_long_and_foreign_sentences_are_drawn_whole():
    sentence = "the réservoir costs $5 and $6 " * 8
    empty = np.zeros((40, 60), bool)
    comparison = Comparison(grey(), empty, sentence, {"$x_ours": Prediction(empty, 0.5)})
    assert "".join(wrap_caption(comparison).split()) == "".join(sentence.split())
    figure = draw_comparison_sheet([comparison] * 3)
    figure.canvas.draw()


def test_several_predictions_stand_side_by_side_with_their_ious_in_the_corner():
    mask = np.ones((40, 60), bool)
    predictions = {"lavt": Prediction(mask, 0.25), "ours": Prediction(mask, 0.75)}
    comparison = Comparison(grey(), mask, "the tank", predictions)
    figure = draw_comparison_sheet([comparison], columns=1)
    titles = [axis.get_title() for axis in figure.subfigs[0].axes]
    corners = [[text.get_text() for text in axis.texts] for axis in figure.subfigs[0].axes]
    assert titles == ["image", "ground truth", "lavt", "ours"]
    assert corners == [[], [], ["IoU 0.25"], ["IoU 0.75"]]


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = Figure(figsize=(1, 200_000))
    with pytest.raises(ValueError, match="too large"):
        save_figure(figure, path, dpi=80)
    assert path.read_bytes() == b"old"


def corner_texts(*, truth, prediction, iou):
    shape = (40, 60)
    comparison = Comparison(
        grey(*shape),
        np.full(shape, truth),
        "the pool",
        {"ours": Prediction(np.full(shape, prediction), iou)},
    )
    figure = draw_comparison_sheet([comparison], columns=1)
    axes = figure.subfigs[0].axes
    return [[text.get_text() for text in axis.texts] for axis in axes]


def test_a_sheet_says_what_is_not_in_the_image():
    absent = "not in this image"
    assert corner_texts(truth=False, prediction=False, iou=1) == [[], [absent], [absent]]
    assert corner_texts(truth=True, prediction=False, iou=0) == [[], [], [f"{absent}, IoU 0.00"]]
    assert corner_texts(truth=False, prediction=True, iou=0) == [[], [absent], ["IoU 0.00"]]
    assert corner_texts(truth=True, prediction=True, iou=1) == [[], [], ["IoU 1.00"]]
