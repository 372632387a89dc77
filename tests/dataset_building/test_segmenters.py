import numpy as np
import pytest
import torch
from oracle import blob
from tiny_sam import save_tiny_sam, save_tiny_sam2, save_tiny_sam2_video

from cadformer_d2.dataset_building.boxes import box_window, enclosing_box
from cadformer_d2.dataset_building.segmenters.grabcut import GrabCutSegmenter
from cadformer_d2.dataset_building.segmenters.sam import (
    SamSegmenter,
    choose_masks,
    measure_stability,
)

BOXES = [(5.0, 5.0, 20.0, 20.0), (10.5, 10.0, 50.0, 38.0), (0.0, 0.0, 60.0, 40.0)]


SAVED = {"sam": save_tiny_sam, "sam2": save_tiny_sam2, "sam2_video": save_tiny_sam2_video}


@pytest.fixture(scope="module", params=SAVED)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return SAVED[kind](tmp_path_factory.mktemp("sam"))


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)


def same(first, second):
    return all(
        np.array_equal(one.mask, other.mask)
        and one.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-5)
        for one, other in zip(list(first), list(second), strict=True)
    )


def test_a_saved_sam_answers_every_box_at_the_images_own_size(kind, folder, image):
    segmenter = SamSegmenter(name=folder)
    answers = segmenter.segment(image, BOXES)
    assert [answer.mask.shape for answer in answers] == [(40, 60)] * 3
    assert all(0 <= answer.predicted_iou <= 1 and 0 <= answer.stability <= 1 for answer in answers)
    assert segmenter.version["model_type"] == kind.removesuffix("_video")


def test_the_image_is_embedded_once_and_the_batching_of_boxes_changes_nothing(folder, image):
    together, apart = SamSegmenter(name=folder), SamSegmenter(name=folder, boxes_per_pass=1)
    embedded = []
    encoder = apart.model.vision_encoder
    encoder.register_forward_hook(lambda *call: embedded.append(1))
    assert same(together.segment(image, BOXES), apart.segment(image, BOXES))
    assert len(embedded) == 1


def test_the_answers_are_those_of_the_models_own_forward(folder, image):
    """Embedding the image apart from the boxes loses nothing, and boxes reach the right place."""
    segmenter = SamSegmenter(name=folder)
    inputs = segmenter.processor(
        images=image, input_boxes=[[list(box) for box in BOXES]], return_tensors="pt"
    )
    keys = ("pixel_values", "input_boxes")
    with torch.inference_mode():
        outputs = segmenter.model(**{key: inputs[key].float() for key in keys})
    logits = segmenter.resize_logits(outputs.pred_masks, inputs)
    assert same(segmenter.segment(image, BOXES), choose_masks(logits, outputs.iou_scores[0], BOXES))


def test_the_same_boxes_get_the_same_masks_again(folder, image):
    first, second = SamSegmenter(name=folder), SamSegmenter(name=folder)
    assert same(first.segment(image, BOXES), second.segment(image, BOXES))


def test_a_missing_sam_says_where_it_is_published():
    with pytest.raises(FileNotFoundError, match="'no/such'.*huggingface.co/facebook"):
        SamSegmenter(name="no/such")


@pytest.mark.parametrize(("device", "message"), [("cuda", "has no usable"), ("gpu", "known: cpu")])
def test_a_device_that_is_not_there_is_named(tmp_path, monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        SamSegmenter(name=save_tiny_sam(tmp_path), device=device)


def test_another_kind_of_model_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="type 'bert'; known types: sam, sam2"):
        SamSegmenter(name=str(tmp_path))


def test_of_three_masks_the_one_that_fits_the_box_and_is_thought_good_is_taken():
    logits = torch.full((1, 3, 40, 60), -5.0)
    logits[0, 0, 5:10, 5:10] = 5  # a part of the object, predicted best
    logits[0, 1, 5:20, 5:20] = 5  # the object
    logits[0, 2] = 5  # everything
    (answer,) = choose_masks(logits, torch.tensor([[0.95, 0.9, 0.9]]), [(5.0, 5.0, 20.0, 20.0)])
    assert answer.mask.sum() == 15 * 15 and answer.predicted_iou == pytest.approx(0.9)


def test_stability_compares_a_stricter_and_a_laxer_threshold():
    logits = torch.tensor([[2.0, 0.5, -0.5, -2.0]])
    assert measure_stability(logits) == pytest.approx(1 / 3)
    assert measure_stability(torch.full((2, 2), -9.0)) == 0


def test_grabcut_finds_an_object_of_another_colour_and_the_whole_image_is_no_object():
    image = np.full((60, 80, 3), (90, 120, 80), np.uint8)
    image += np.random.default_rng(0).integers(8, size=image.shape, dtype=np.uint8)
    image[20:40, 30:55] = (200, 60, 60)
    one, everything = GrabCutSegmenter().segment(image, [(27, 17, 58, 43), (0, 0, 80, 60)])
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:55] = True
    assert (one.mask & truth).sum() / (one.mask | truth).sum() > 0.95
    assert one.predicted_iou is None and everything.mask.all()


def test_a_masks_box_encloses_it_along_pixel_edges():
    mask = blob(0)
    x1, y1, x2, y2 = enclosing_box(mask)
    rows, columns = box_window((x1, y1, x2, y2), *mask.shape)
    assert mask[rows, columns].sum() == mask.sum()
    assert mask[rows][0].any() and mask[rows][-1].any()
    assert enclosing_box(np.zeros((3, 4), bool)) == (0, 0, 0, 0)
