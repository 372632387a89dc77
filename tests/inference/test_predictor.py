from functools import partial

import cv2
import numpy as np
import pytest
import shapely
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from PIL import Image
from pycocotools import mask as coco_mask
from refer_files import ReferFiles

from cadformer_d2 import checkpoint_file
from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.commands.predict import say
from cadformer_d2.data.mapper import RefSegMapper
from cadformer_d2.data.queries import query_every_expression
from cadformer_d2.data.refer import load_refer_records
from cadformer_d2.evaluation import ReferringSegmentationEvaluator
from cadformer_d2.inference import ReferredMask, RefSegPredictor


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config, its checkpoint on disk, and evaluation records."""
    root = tmp_path_factory.mktemp("trained")
    files = ReferFiles(root / "data").write()
    cfg = make_tiny_cfg()
    cfg.TEST.EVAL_RESOLUTION = "native"
    torch.manual_seed(0)
    model = build_model(cfg)
    records = load_refer_records(files.annotations, files.images, split="test")
    records = query_every_expression(records)
    with torch.no_grad():
        (output,) = model.eval()([RefSegMapper(cfg, is_train=False)(records[0])])
        # So that masks are neither empty nor full.
        model.decoder.classifier.bias[1] -= output["sem_seg"][1].median().logit()
    RefSegCheckpointer(model, str(root), config=cfg).save("model")
    return cfg, root / "model.pth", records


@pytest.fixture(scope="module")
def predictor(trained):
    return RefSegPredictor.from_checkpoint(trained[1], device="cpu")


def test_a_predictor_reads_its_weights_once(trained, monkeypatch):
    reads, read = [], checkpoint_file._read
    monkeypatch.setattr(checkpoint_file, "_read", lambda path: reads.append(path) or read(path))
    RefSegPredictor.from_checkpoint(trained[1], device="cpu")
    assert reads == [trained[1]]


def test_predictor_and_evaluator_give_the_same_masks(trained, predictor):
    cfg, _, records = trained
    evaluator = ReferringSegmentationEvaluator(
        dataset_name="test", class_names=["a", "b"], output_dir=None, empty_iou=0.0,
        eval_resolution="native",
    )  # fmt: skip
    mapper = RefSegMapper(cfg, is_train=False)
    for record in records:
        sample = mapper(record)
        with torch.no_grad():
            evaluator.process([sample], predictor.model([sample]))
    for record, scored in zip(records, evaluator.samples, strict=True):
        result = predictor(record["file_name"], record["expressions"][0])
        np.testing.assert_array_equal(result.mask, coco_mask.decode(scored["prediction"]))
        assert result.mask.any() and not result.mask.all()
        assert 0.5 <= result.score <= 1


def test_every_way_to_hand_over_an_image_gives_the_same_mask(trained, predictor):
    path, expression = trained[2][0]["file_name"], trained[2][0]["expressions"][0]
    bgr = cv2.imread(path)
    wanted = predictor(path, expression)
    others = (
        predictor(np.ascontiguousarray(bgr[..., ::-1]), expression),
        predictor(bgr, expression, channel_order="BGR"),
        predictor(Image.open(path), expression),
    )
    for other in others:
        np.testing.assert_allclose(other.probability, wanted.probability, atol=1e-6)


def test_several_sentences_are_those_asked_one_by_one_and_prepare_the_image_once(
    trained, predictor, monkeypatch
):
    path = trained[2][0]["file_name"]
    expressions = ["the roundabout", "the storage tank on the left", "a pool"]
    alone = [predictor(path, expression) for expression in expressions]
    prepared = []
    prepare = predictor.network_input.prepare_image
    monkeypatch.setattr(
        predictor.network_input,
        "prepare_image",
        lambda pixels: prepared.append(1) or prepare(pixels),
    )
    together = predictor(path, expressions)
    assert len(prepared) == 1
    assert [result.expression for result in together] == expressions
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)


def test_one_sentence_about_images_of_several_sizes(trained, predictor):
    images = [np.full((40, 60, 3), 90, np.uint8), np.full((81, 33, 3), 160, np.uint8)]
    results = predictor.predict_images(images, "the pool")
    assert [result.mask.shape for result in results] == [(40, 60), (81, 33)]


def test_more_sentences_than_a_batch_holds(trained, monkeypatch):
    small = RefSegPredictor.from_checkpoint(trained[1], device="cpu", batch_size=2)
    expressions = ["the pool", "the tank", "the court", "the field", "the road"]
    read = []
    monkeypatch.setattr(
        small, "read_image", lambda *a: read.append(1) or RefSegPredictor.read_image(small, *a)
    )
    results = small(trained[2][0]["file_name"], expressions)
    assert len(read) == 1
    assert [result.expression for result in results] == expressions


def test_bfloat16_gives_nearly_the_same_probabilities(trained, predictor):
    path, expression = trained[2][0]["file_name"], trained[2][0]["expressions"][0]
    half = RefSegPredictor.from_checkpoint(trained[1], device="cpu", dtype="bfloat16")
    exact, rounded = predictor(path, expression), half(path, expression)
    difference = np.abs(exact.probability - rounded.probability).max()
    assert 0 < difference < 0.05


@pytest.mark.parametrize("dtype", ["float16", "float8"])
def test_a_format_that_cannot_be_is_refused(trained, dtype):
    with pytest.raises(ValueError, match="needs a GPU" if dtype == "float16" else "known: float32"):
        RefSegPredictor.from_checkpoint(trained[1], device="cpu", dtype=dtype)


def test_a_compiled_network_answers_as_before(trained, predictor, monkeypatch):
    # The graph is really captured; a compiler of C++, which "inductor" wants, may be missing here.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = RefSegPredictor.from_checkpoint(trained[1], device="cpu")
    assert compiled.compile()
    # Of the size that was compiled for, and of a sentence as long: each other one takes as long.
    image = np.random.default_rng(0).integers(256, size=(*predictor.input_size, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        compiled(image, "compiling").probability,
        predictor(image, "compiling").probability,
        atol=1e-5,
    )


def test_a_failing_compiler_is_reported_and_done_without(trained, predictor, monkeypatch, caplog):
    def broken_backend(*_):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken_backend))
    compiled = RefSegPredictor.from_checkpoint(trained[1], device="cpu")
    assert not compiled.compile()
    assert "going on without it" in caplog.text and "no C++ compiler" in caplog.text
    path = trained[2][0]["file_name"]
    np.testing.assert_array_equal(compiled(path, "the pool").mask, predictor(path, "the pool").mask)


def test_polygons_enclose_the_mask(trained, predictor):
    result = predictor(trained[2][0]["file_name"], "the pool")
    polygons = [shapely.geometry.shape(polygon) for polygon in result.polygons()]
    assert sum(polygon.area for polygon in polygons) == result.mask.sum() > 0


def test_a_sentence_that_is_too_long_is_cut_and_said_so(trained, predictor, caplog):
    path, words = trained[2][0]["file_name"], predictor.network_input.tokenizer.max_word_pieces
    whole = predictor(path, " ".join(["pool"] * words))
    assert not caplog.text
    longer = predictor(path, " ".join(["pool"] * (words + 1)))
    assert f"only the first {words} word pieces of" in caplog.text
    np.testing.assert_array_equal(longer.probability, whole.probability)
    predictor(path, " ".join(["pool"] * (words + 1)))
    assert caplog.text.count("only the first") == 1


def test_a_sentence_without_a_known_word_is_said_so_once(trained, predictor, monkeypatch, caplog):
    tokenizer = predictor.network_input.tokenizer
    monkeypatch.setattr(tokenizer, "is_unknown", lambda text: text.startswith("teich"))
    path, sentence = trained[2][0]["file_name"], "teich " * 50
    predictor(path, [sentence, "the pool", sentence])
    assert caplog.text.count("the network's vocabulary has no word of 'teich") == 1
    assert "the pool" not in caplog.text and len(caplog.text) < 400


MISTAKES = {
    "no text": (
        lambda p, path: p(path, [None]),
        "the expression is None, it should be a valid",
    ),
    "nothing": (lambda p, path: p(None, "the pool"), "the image is a NoneType"),
    "no pixels": (lambda p, path: p(np.zeros((0, 9, 3), np.uint8), "the pool"), "of shape"),
    "an empty sentence": (lambda p, path: p(path, "  "), "is empty"),
    "a missing file": (lambda p, path: p("gone.jpg", "the pool"), "gone.jpg"),
    "no image": (lambda p, path: p(__file__, "the pool"), "cannot be read as an image"),
    "16 bits": (lambda p, path: p(Image.new("I;16", (9, 9)), "the pool"), "more than 8 bits"),
    "floats": (lambda p, path: p(np.zeros((9, 9, 3)), "the pool"), "float64 of shape"),
    "an order": (lambda p, path: p(path, "the pool", channel_order="GRB"), "known: RGB, BGR"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(trained, predictor, mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises((ValueError, OSError), match=message):
        call(predictor, trained[2][0]["file_name"])


def test_a_checkpoint_of_a_newer_version_is_named(trained, tmp_path):
    content = torch.load(trained[1], weights_only=True)
    content["config"] = content["config"].replace("INPUT:", "INPUT:\n  FROM_THE_FUTURE: 1", 1)
    torch.save(content, tmp_path / "newer.pth")
    with pytest.raises(ValueError, match=r"newer\.pth .*FROM_THE_FUTURE.* newer one"):
        RefSegPredictor.from_checkpoint(tmp_path / "newer.pth", device="cpu")


def answer(mask, probability=None, **fields):
    probability = np.where(mask, 0.75, 0.25) if probability is None else probability
    return ReferredMask("all tanks", probability.astype(np.float32), mask, **fields)


def test_instances_are_the_masks_connected_parts_with_area_box_and_score():
    mask = np.zeros((6, 9), bool)
    mask[1:3, 1:4] = True  # six pixels
    mask[3, 4] = True  # touches them at a corner only
    mask[4:6, 7] = True
    probability = np.where(mask, 0.6, 0.1)
    probability[4:6, 7] = (0.7, 0.9)
    found = answer(mask, probability).instances
    assert [instance.area for instance in found] == [6, 2, 1]
    assert [instance.box_xyxy for instance in found] == [(1, 1, 4, 3), (7, 4, 8, 6), (4, 3, 5, 4)]
    assert [instance.score for instance in found] == pytest.approx([0.6, 0.8, 0.6])
    again = np.zeros_like(mask)
    for instance in found:
        left, top, right, bottom = instance.box_xyxy
        again[top:bottom, left:right] |= instance.mask
    np.testing.assert_array_equal(again, mask)


def test_an_empty_mask_is_not_present_and_has_no_instance():
    empty = answer(np.zeros((5, 5), bool))
    assert not empty.is_present and empty.instances == [] and empty.presence is None
    assert answer(np.ones((5, 5), bool)).is_present


def test_presence_is_the_models_and_blanks_its_answer(trained):
    cfg = trained[0].clone()
    cfg.MODEL.PRESENCE.NAME = "PooledPresence"
    torch.manual_seed(0)
    image, texts = np.full((40, 60, 3), 90, np.uint8), ["the pool", "the tank"]
    for threshold, is_present in ((0.0, True), (1.0, False)):
        model = build_model(cfg)
        model.presence_threshold = threshold
        with torch.no_grad():
            model.decoder.classifier.bias[1] += 9.0
        for result in RefSegPredictor(cfg=cfg, model=model)(image, texts):
            assert 0 < result.presence < 1 and result.is_present == is_present
            assert result.probability.any() == is_present


def test_predict_says_what_is_not_there_and_in_how_many_parts():
    two = np.zeros((10, 10), bool)
    two[0, :3] = two[5, 5:7] = True
    assert say(answer(two)) == "all tanks: 5 % of the image in 2 parts, score 0.75"
    there = say(answer(np.ones((5, 5), bool), presence=0.9))
    assert there == "all tanks: 1e+02 % of the image, score 0.75; there with probability 0.90"
    assert say(answer(np.zeros((5, 5), bool))) == "all tanks: not in this image"
    absent = say(answer(np.zeros((5, 5), bool), presence=0.125))
    assert absent == "all tanks: not in this image; there with probability 0.12"
