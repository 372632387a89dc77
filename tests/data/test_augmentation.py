import cv2
import numpy as np
import pytest
from conftest import make_tiny_cfg
from detectron2.data import transforms as T
from refer_files import ReferFiles

from cadformer_d2.data.augmentation import (
    ExpressionAugInput,
    build_augmentations,
    list_augmentations,
    seed_numpy,
)
from cadformer_d2.data.frame_words import depends_on_frame
from cadformer_d2.data.mapper import RefSegMapper
from cadformer_d2.data.refer import load_refer_records
from cadformer_d2.engine.setup import load_config

HEIGHT, WIDTH = 60, 90
# Arguments for every name; a new augmentation gets a line here.
ARGUMENTS = {
    "FixedSizeCrop": [[50, 100]],
    "MinIoURandomCrop": [],
    "RandomApply": [["RandomCropKeepingTarget", 0.3], 0.5],
    "RandomBlur": [0, 1.5],
    "RandomBrightness": [0.5, 1.5],
    "RandomContrast": [0.5, 1.5],
    "RandomCrop": ["relative_range", [0.6, 0.6]],
    "RandomCropKeepingTarget": [0.3],
    "RandomCrop_CategoryAreaConstraint": ["relative_range", [0.6, 0.6]],
    "RandomCutout": [1, 3, 0.2],
    "RandomExtent": [[0.6, 1.4], [0.2, 0.2]],
    "RandomFlip": [{"horizontal": False, "vertical": True}],
    "RandomLighting": [10],
    "RandomNoise": [0, 10],
    "RandomOrientation": [["horizontal_flip", "quarter_turns"]],
    "RandomResize": [[[50, 60], [80, 40]]],
    "RandomRotation": [[-40, 40], {"expand": False}],
    "RandomSaturation": [0.5, 1.5],
    "RandomZoom": [0.6, 1.6],
    "ReleasedBoxes": [1, 2],
    "Resize": [[50, 70]],
    "ResizeScale": [0.5, 1.5, 60, 60],
    "ResizeShortestEdge": [[40, 80], 200, "choice"],
}
LINES = [[name, *arguments] for name, arguments in ARGUMENTS.items()] + [
    ["RandomRotation", [0, 90, 180, 270], {"sample_style": "choice"}],
    ["RandomFlip", 0.5],
    ["RandomRotation", [-40, 40]],
]
PALE = {"RandomCutout", "ReleasedBoxes", "RandomNoise", "RandomBlur"}  # may hide or mix the target
COLOURS = {"RandomBrightness", "RandomContrast", "RandomSaturation", "RandomLighting"}


CFG = make_tiny_cfg()


def augmentations(*lines):
    CFG.INPUT.AUGMENTATIONS = lines
    return build_augmentations(CFG)


def scene(top=6, left=10, side=8):
    """Dark ground with a white target."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return np.repeat(40 + 200 * mask[..., None], 3, 2).astype(np.uint8), mask


def augment(line, expression, *, seed, image_and_mask=None):
    image, mask = image_and_mask or scene()
    rng = np.random.default_rng(seed)
    sample = ExpressionAugInput(image, sem_seg=mask, expression=expression, ref_id=4, rng=rng)
    with seed_numpy(rng):
        T.AugmentationList(augmentations(line))(sample)
    return sample


def test_every_augmentation_that_a_config_can_name_is_tried_here():
    assert set(list_augmentations()) == set(ARGUMENTS)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_an_expression_about_a_place_stays_true(line):
    said = set()
    for seed in range(25):
        sample = augment(line, "the pool in the upper left", seed=seed)
        rows, columns = sample.sem_seg.nonzero()
        height, width = sample.sem_seg.shape
        vertical = "upper" if rows.mean() < height / 2 else "lower"
        horizontal = "left" if columns.mean() < width / 2 else "right"
        assert sample.expression == f"the pool in the {vertical} {horizontal}"
        said.add(sample.expression)
    turns = line[0] in ("RandomFlip", "RandomOrientation") or "choice" in str(line[1:])
    assert (len(said) > 1) == (turns and line[0] != "ResizeShortestEdge")


@pytest.mark.parametrize("line", LINES, ids=str)
def test_image_and_mask_stay_together_and_the_target_whole(line):
    before, mask = scene(side=16)
    changed = 0
    for seed in range(25):
        sample = augment(line, "the pool by the road", seed=seed, image_and_mask=(before, mask))
        assert sample.expression == "the pool by the road"
        assert set(np.unique(sample.sem_seg)) == {0, 1}
        assert sample.image.shape[:2] == sample.sem_seg.shape and sample.image.dtype == np.uint8
        changed += not np.array_equal(sample.image, before)
        if line[0] in PALE:
            assert np.array_equal(sample.sem_seg, mask)
            continue
        if line[0] not in COLOURS:
            bright = sample.image[..., 0] > 160  # the ground is 40, what is around it at most 128
            is_target = sample.sem_seg == 1
            assert (bright & is_target).sum() / (bright | is_target).sum() > 0.6, seed
    if line[0] != "ReleasedBoxes":
        assert changed > 3


def test_what_may_falsify_an_expression_leaves_all_as_it_is():
    before, mask = scene()
    for line in (["RandomCropKeepingTarget", 0.3, 0.5], ["RandomRotation", [10, 20]]):
        for seed in range(5):
            kept = augment(line, "the leftmost of three pools", seed=seed)
            assert np.array_equal(kept.image, before) and np.array_equal(kept.sem_seg, mask)
            assert kept.expression == "the leftmost of three pools"
    for seed in range(20):  # the target is nearly as large as the crop
        cut = augment(
            ["RandomCrop", "relative", [0.5, 0.5]],
            "the pool",
            seed=seed,
            image_and_mask=scene(side=29),
        )
        assert cut.sem_seg.sum() == 29 * 29


def test_a_crop_holds_the_target_wherever_it_lies():
    for top, left in ((0, 0), (HEIGHT - 8, WIDTH - 8), (20, 40)):
        sizes = set()
        for seed in range(20):
            line = ["RandomCropKeepingTarget", 0.2, 0.9]
            found = augment(line, "the pool", seed=seed, image_and_mask=scene(top, left))
            assert found.sem_seg.sum() == 64
            sizes.add(found.sem_seg.shape)
        assert len(sizes) > 10
    large = scene(0, 10, side=55)
    found = augment(
        ["RandomCropKeepingTarget", 0.2, 0.5], "the field", seed=0, image_and_mask=large
    )
    assert found.sem_seg.shape == (55, 55) and found.sem_seg.all()


def test_a_zoom_in_that_would_cut_the_target_is_left_out():
    before, _ = scene()
    zoomed = augment(["RandomZoom", 1.6, 1.6], "the pool", seed=0)
    assert np.array_equal(zoomed.image, before)
    middle = scene(top=26, left=40)
    zoomed = augment(["RandomZoom", 1.6, 1.6], "the pool", seed=0, image_and_mask=middle)
    assert zoomed.image.shape == before.shape and zoomed.sem_seg.sum() > 2 * 64


def test_a_zoom_keeps_the_size_and_shrinks_about_the_middle():
    shrunk = augment(["RandomZoom", 0.5, 0.5], "the pool in the upper left", seed=0)
    assert shrunk.image.shape == (HEIGHT, WIDTH, 3)
    rows, columns = shrunk.sem_seg.nonzero()
    assert (rows.min(), rows.max() + 1) == (15 + 3, 15 + 7)
    assert columns.min() == pytest.approx(22 + 5, abs=1) and (shrunk.image[0] == 128).all()


@pytest.mark.parametrize(
    "expression",
    [
        "the pool on the left",
        "the largest pool",
        "the second tank",
        "the only roundabout",
        "one of two courts",
        "the court in the middle",
        "the tank nearest to the road",
        "the southernmost field",
        "the pool at the edge of the picture",
        "the 3 tanks",
        "the topmost court",
    ],
)
def test_words_that_need_the_whole_image_are_known(expression):
    assert depends_on_frame(expression)


@pytest.mark.parametrize(
    "expression",
    ["the blue pool", "the large tank next to the forest", "a court between a road and a house"],
)
def test_other_expressions_may_be_seen_in_part(expression):
    assert not depends_on_frame(expression)


@pytest.fixture
def record(tmp_path):
    files = ReferFiles(tmp_path).write()
    return load_refer_records(files.annotations, files.images, split="train")[0]


def test_a_sample_depends_on_its_generator_alone(record):
    cfg = make_tiny_cfg()
    plain = RefSegMapper(cfg, is_train=True)
    cfg.INPUT.AUGMENTATIONS = [["RandomBrightness", 0.2, 1.8], ["RandomZoom", 0.5, 0.9]]
    mapper = RefSegMapper(cfg, is_train=True)
    np.random.seed(3)
    first = mapper(record, np.random.default_rng(7))
    after = np.random.random()
    np.random.seed(3)
    assert np.random.random() == after  # what others draw from np.random is untouched
    again, other = (mapper(record, np.random.default_rng(seed)) for seed in (7, 8))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])
    # Augmentations change nothing about which expression is drawn.
    assert first["sent_id"] == plain(record, np.random.default_rng(7))["sent_id"]


def test_evaluation_is_not_augmented(record):
    cfg = make_tiny_cfg()
    record = {**record, "expressions": record["expressions"][:1]}
    plain = RefSegMapper(cfg, is_train=False)(record)
    cfg.INPUT.AUGMENTATIONS = [["RandomBrightness", 0.1, 0.2]]
    assert np.array_equal(RefSegMapper(cfg, is_train=False)(record)["image"], plain["image"])


def test_the_mapper_takes_augmentations_in_code_as_detectron2s_does(record):
    cfg = make_tiny_cfg()
    flipped = RefSegMapper(cfg, is_train=True, augmentations=[T.HFlipTransform(record["width"])])
    record = {**record, "expressions": ["the pool on the left"] * 2}
    sample = flipped(record, np.random.default_rng(0))
    assert sample["expression"] == "the pool on the right"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["RandomBrightnes", 1], r"AUGMENTATIONS\[0\] is 'RandomBrightnes'; known names: .*Blur"),
        (["RandomBrightness"], r"\[0\], RandomBrightness: .*missing.*intensity_max"),
        (["RandomApply", ["Blur"], 0.5], r"\[0\], RandomApply is 'Blur'; known names"),
        (["RandomZoom", 2, 1], r"RandomZoom: scale is 2 to 1"),
        (["RandomBlur", -1, 1], r"RandomBlur: got -1 to 1; expected a range"),
        (["RandomApply", ["RandomFlip"], 7], r"RandomApply: .*[Pp]robab"),
        ([], r"\[0\] is \[\]; expected \[name"),
        ([3], r"\[0\] is \[3\]; expected \[name"),
    ],
    ids=str,
)
def test_a_wrong_line_says_what_is_right(line, message):
    with pytest.raises(ValueError, match=message):
        augmentations(line)


def test_lines_come_from_a_file_or_the_command_line(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "INPUT:\n  AUGMENTATIONS:\n"
        "  - [RandomBrightness, 0.8, 1.2]\n"
        "  - [RandomApply, [RandomBlur, 0.5, 2.0], 0.3]\n"
        "  - [RandomFlip, {horizontal: False, vertical: True}]\n"
    )
    brightness, applied, flip = build_augmentations(load_config(str(path)))
    assert (brightness.intensity_min, applied.aug.sigma_max, flip.vertical) == (0.8, 2.0, True)
    own = ["INPUT.AUGMENTATIONS", "[('RandomNoise', 0, 5)]"]
    (noise,) = build_augmentations(load_config(str(path), own))
    assert noise.std_max == 5
    with pytest.raises(ValueError, match="AUGMENTATIONS"):
        load_config("", ["INPUT.AUGMENTATIONS", "['RandomFlip']"])


def test_a_transform_that_does_not_say_where_pixels_go_is_refused():
    class Silent(T.Transform):
        def apply_image(self, img):
            return img

        def apply_coords(self, coords):
            raise NotImplementedError

    image, mask = scene()
    rng = np.random.default_rng(0)
    sample = ExpressionAugInput(image, sem_seg=mask, expression="it", ref_id=1, rng=rng)
    with pytest.raises(TypeError, match="Silent does not implement apply_coords"):
        sample.transform(Silent())
    with pytest.raises(TypeError, match="turns the image into float64; it must stay uint8"):
        sample.transform(T.ColorTransform(lambda img: img / 255))


def two_targets():
    image, mask = scene()
    other = scene(top=30, left=40)
    return np.maximum(image, other[0]), mask | other[1]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_several_targets_all_stay_whole(line):
    for seed in range(10):
        sample = augment(line, "the pools by the road", seed=seed, image_and_mask=two_targets())
        assert cv2.connectedComponents(sample.sem_seg)[0] == 1 + 2


CUTS = (["RandomCropKeepingTarget", 0.3, 0.6], ["RandomZoom", 1.3, 1.6], ["RandomRotation", [9, 9]])


@pytest.mark.parametrize("line", CUTS, ids=str)
@pytest.mark.parametrize(
    "text", ["all pools", "every pool", "each pool", "both pools", "two pools"]
)
def test_what_counts_or_asks_for_all_keeps_the_whole_image_in_view(line, text):
    image, mask = two_targets()
    for targets in (mask, 0 * mask):
        sample = augment(line, text, seed=1, image_and_mask=(image, targets))
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.sem_seg, targets)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_what_is_not_there_is_not_there_in_another_view(line):
    image, mask = scene()
    changed = 0
    for seed in range(10):
        absent = augment(line, "the airplane", seed=seed, image_and_mask=(image, 0 * mask))
        assert not absent.sem_seg.any() and absent.sem_seg.shape == absent.image.shape[:2]
        assert absent.boxes.shape == (0, 4) and absent.expression == "the airplane"
        changed += not np.array_equal(absent.image, image)
    # Else a crop would tell that there is a target.
    assert changed or line[0] in ("ReleasedBoxes", "RandomCrop_CategoryAreaConstraint")


def test_a_false_place_is_turned_with_the_image_and_never_cut():
    image, mask = scene()  # the pool is in the upper left
    for line in CUTS:
        kept = augment(line, "the pool on the right", seed=2, image_and_mask=(image, 0 * mask))
        np.testing.assert_array_equal(kept.image, image)
    said = {
        augment(["RandomFlip", 1.0], text, seed=0, image_and_mask=(image, 0 * mask)).expression
        for text in ("the pool on the right", "all pools in the right half of the image")
    }
    assert said == {"the pool on the left", "all pools in the left half of the image"}
