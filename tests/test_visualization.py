import matplotlib
import numpy as np
import pytest

from cadformer_d2.visualization import Comparison, Prediction, caption, comparison_sheet, draw_mask

matplotlib.use("Agg")

GREEN = (0.0, 1.0, 0.0)


def grey(height=40, width=60):
    return np.full((height, width, 3), 120, np.uint8)


def test_the_mask_is_tinted_and_the_rest_is_not():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:40] = True
    drawn = draw_mask(grey(), mask, colour=GREEN)
    assert drawn.shape[0] == 400 and drawn.shape[1] == 600  # small images are enlarged
    inside, outside = drawn[200, 250], drawn[20, 20]
    assert inside[1] > inside[0] + 40
    assert np.abs(outside.astype(int) - 120).max() <= 1


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image is \(40, 60\), mask \(4, 4\)"):
        draw_mask(grey(), np.zeros((4, 4), bool), colour=GREEN)


def test_long_and_foreign_sentences_are_drawn_whole():
    sentence = "the réservoir costs $5 and $6 " * 8
    empty = np.zeros((40, 60), bool)
    comparison = Comparison(grey(), empty, sentence, {"prediction": Prediction(empty, 0.5)})
    assert "".join(caption(comparison).split()) == "".join(sentence.split())
    figure = comparison_sheet([comparison] * 3)
    figure.canvas.draw()
    matplotlib.pyplot.close(figure)


def test_several_predictions_stand_side_by_side_with_their_ious_in_the_corner():
    empty = np.zeros((40, 60), bool)
    predictions = {"lavt": Prediction(empty, 0.25), "ours": Prediction(empty, 0.75)}
    comparison = Comparison(grey(), empty, "the tank", predictions)
    figure = comparison_sheet([comparison], columns=1)
    titles = [axis.get_title() for axis in figure.subfigs[0].axes]
    corners = [[text.get_text() for text in axis.texts] for axis in figure.subfigs[0].axes]
    matplotlib.pyplot.close(figure)
    assert titles == ["image", "ground truth", "lavt", "ours"]
    assert corners == [[], [], ["IoU 0.25"], ["IoU 0.75"]]
