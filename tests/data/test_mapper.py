import copy

import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from PIL import Image
from pycocotools import mask as coco_mask
from refer_files import HEIGHT, WIDTH, ReferFiles, rle

from cadformer_d2.data.image_file import read_image
from cadformer_d2.data.loading import RefSegTrainingSet
from cadformer_d2.data.mapper import RefSegMapper
from cadformer_d2.data.queries import query_every_expression
from cadformer_d2.data.refer import load_refer_records


@pytest.fixture
def files(tmp_path):
    return ReferFiles(tmp_path).write()


@pytest.fixture
def record(files):
    return load_refer_records(files.annotations, files.images, split="train")[0]


def mapper(*, is_train=True, **changes):
    cfg = make_tiny_cfg()
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return RefSegMapper(cfg, is_train=is_train)


def test_names_of_ones_own_objects_are_told_from_places(record):
    record["expressions"] = ["the windsock on the left"] * len(record["expressions"])
    own = mapper(**{"INPUT.OBJECT_NAMES": ("windsock",)})
    for mapped, is_known in ((mapper(), False), (own, True)):
        assert mapped(record, rng())["is_object"].any() == is_known


def rng(seed=0):
    return np.random.default_rng(seed)


def test_training_sample_has_the_contracts_shapes(record):
    sample = mapper()(record, rng())
    assert sample["image"].shape == (3, 64, 64) and sample["image"].dtype == torch.float32
    assert sample["gt_mask"].shape == (64, 64) and sample["gt_mask"].dtype == torch.bool
    assert sample["input_ids"].shape == sample["attention_mask"].shape
    share = sample["gt_mask"].float().mean().item()
    assert share == pytest.approx(100 / (HEIGHT * WIDTH), rel=0.15)


def test_the_record_is_left_as_it_is(record):
    before = copy.deepcopy(record)
    mapper()(record, rng())
    assert record == before


def test_training_draws_among_the_sentences(record):
    drawn = {mapper()(record, rng(seed))["expression"] for seed in range(20)}
    assert drawn == set(record["expressions"])


def test_order_and_sentences_follow_from_seed_epoch_and_place(tmp_path):
    files = ReferFiles(tmp_path)
    for ref in files.refs:
        texts = [f"the tank of {number} words" for number in range(5)]
        ref["sentences"] = [
            {"sent_id": 10 * ref["ref_id"] + number, "sent": text, "raw": text, "tokens": []}
            for number, text in enumerate(texts)
        ]
        ref["sent_ids"] = [sentence["sent_id"] for sentence in ref["sentences"]]
    files.write()
    records = load_refer_records(files.annotations, files.images, split="train")
    assert [record["ref_id"] for record in records] == [1, 4, 7]
    training_set = RefSegTrainingSet(records=records, mapper=mapper(), seed=5)
    drawn = set()
    for draw in (*range(15), 100, *range(14, -1, -1)):  # as a resumed run asks, too
        epoch, place = draw // 3, draw % 3
        ref_id = (1, 4, 7)[rng([5, epoch]).permutation(3)[place]]
        number = int(rng([5, epoch, place]).integers(5))
        sample = training_set[draw]
        assert (sample["ref_id"], sample["sent_id"]) == (ref_id, 10 * ref_id + number), draw
        assert sample["expression"] == f"the tank of {number} words"
        drawn.add(number)
    assert drawn == set(range(5))


@pytest.mark.parametrize("size", [(24, 31), (64, 64), (90, 133), (55, 45)])
def test_masks_to_train_and_to_score_are_those_of_pillow_to_the_pixel(tmp_path, size):
    files = ReferFiles(tmp_path, num_images=1)
    native = (np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.5).astype(np.uint8)
    for annotation in files.instances["annotations"]:
        annotation["segmentation"] = [rle(native)]
    files.write()
    (record,) = load_refer_records(files.annotations, files.images, split="train")
    wanted = np.asarray(Image.fromarray(native).resize(size[::-1], Image.Resampling.NEAREST))
    sample = mapper(**{"INPUT.SIZE": size})(record, rng())
    assert np.array_equal(sample["gt_mask"].numpy(), wanted == 1)
    asked, _ = query_every_expression([record])
    for resolution, truth in (("input", wanted), ("native", native)):
        changes = {"INPUT.SIZE": size, "TEST.EVAL_RESOLUTION": resolution}
        scored = mapper(is_train=False, **changes)(asked)
        assert np.array_equal(coco_mask.decode(scored["gt_rle"]), truth)
        assert (scored["height"], scored["width"]) == truth.shape


@pytest.mark.parametrize(("resolution", "size"), [("input", (64, 64)), ("native", (40, 60))])
def test_resolution_of_scoring_is_decided_here(record, resolution, size):
    (asked, _) = query_every_expression([record])
    sample = mapper(is_train=False, **{"TEST.EVAL_RESOLUTION": resolution})(asked)
    assert (sample["height"], sample["width"]) == size
    assert tuple(sample["gt_rle"]["size"]) == size
    assert coco_mask.area(sample["gt_rle"]) > 0


def test_black_boxes_fall_on_a_fixed_fifth_and_leave_the_mask(record):
    erasing = mapper(**{"INPUT.RANDOM_ERASE_BOXES": (5, 5)})
    changed = 0
    for ref_id in range(200):
        sample = erasing({**record, "ref_id": ref_id}, rng())
        again = erasing({**record, "ref_id": ref_id}, rng())
        assert torch.equal(sample["image"], again["image"])
        changed += bool((sample["image"] == 0).all(0).float().mean() > 0.1)
        assert torch.equal(sample["gt_mask"], mapper()(record, rng())["gt_mask"])
    assert 25 < changed < 55


def test_an_image_asked_about_in_a_row_is_decoded_once(files, monkeypatch):
    records = query_every_expression(
        load_refer_records(files.annotations, files.images, split="train")
    )
    decoded = []
    monkeypatch.setattr(
        "cadformer_d2.data.mapper.read_image",
        lambda name, order: decoded.append(name) or read_image(name, order),
    )
    reused, alone = mapper(is_train=False), [mapper(is_train=False)(r) for r in records]
    decoded.clear()
    for record, expected in zip(records, alone, strict=True):
        assert torch.equal(reused(record)["image"], expected["image"])
    changes = [i for i, r in enumerate(records) if r["file_name"] != records[i - 1]["file_name"]]
    assert len(decoded) == len(changes) < len(records)


def test_a_truncated_jpeg_is_named(record):
    with open(record["file_name"], "r+b") as file:
        file.truncate(400)
    with pytest.raises(ValueError, match=r"ref 1: .*1\.jpg cannot be read as an image"):
        mapper()(record, rng())


def test_an_image_of_another_size_is_named(record):
    record["height"] = 41
    with pytest.raises(ValueError, match=r"1\.jpg \(ref 1\) is \(40, 60\) .* says \(41, 60\)"):
        mapper()(record, rng())


def test_an_expression_without_words_is_named(record):
    record["expressions"] = ["\u200b"] * 2
    with pytest.raises(ValueError, match=r"1\.jpg: ref 1, expression \d: .* is empty"):
        mapper()(record, rng())


def test_another_orientation_moves_picture_mask_and_sentence_together(tmp_path):
    files = ReferFiles(tmp_path, num_images=1)
    for ref in files.refs:
        for sentence in ref["sentences"]:
            sentence["sent"] = "the roundabout on the left"
    files.write()
    (record,) = load_refer_records(files.annotations, files.images, split="train")
    cfg = make_tiny_cfg()
    cfg.INPUT.SIZE = (HEIGHT, WIDTH)
    plain = RefSegMapper(cfg, is_train=True)(record, np.random.default_rng(0))
    cfg.INPUT.ORIENTATIONS = ("horizontal_flip",)
    mapper = RefSegMapper(cfg, is_train=True)
    seen = {}
    for seed in range(8):
        sample = mapper(record, np.random.default_rng(seed))
        seen[sample["expression"]] = sample
    assert set(seen) == {"the roundabout on the left", "the roundabout on the right"}
    mirrored = seen["the roundabout on the right"]
    assert torch.equal(mirrored["image"], plain["image"].flip(-1))
    assert torch.equal(mirrored["gt_mask"], plain["gt_mask"].flip(-1))
    assert not torch.equal(mirrored["input_ids"], plain["input_ids"])
