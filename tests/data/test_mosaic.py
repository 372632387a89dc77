import numpy as np
import pytest

from cadformer_d2.data.class_names import RRSISHR_CLASSES
from cadformer_d2.data.synthetic.mosaic import draw_mosaic_strips


def mosaic(height, width, **options):
    """Pixels and category ids of a whole mosaic."""
    strips = draw_mosaic_strips(size=(height, width), **options)
    return tuple(np.concatenate(part) for part in zip(*strips, strict=True))


def test_a_smaller_mosaic_is_the_upper_left_part_of_a_larger_one():
    large, small = mosaic(200, 300), mosaic(130, 96)
    for whole, part in zip(large, small, strict=True):
        np.testing.assert_array_equal(whole[:130, :96], part)


def test_objects_look_unlike_the_ground_around_them_and_every_category_occurs():
    pixels, category_ids = mosaic(480, 480)
    assert pixels.shape == (480, 480, 3) and category_ids.shape == (480, 480)
    assert set(np.unique(category_ids)) == {*range(len(RRSISHR_CLASSES) + 1)}
    pools = pixels[category_ids == RRSISHR_CLASSES.index("swimming pool") + 1].mean(axis=0)
    ground = pixels[category_ids == 0].mean(axis=0)
    assert pools[2] - pools[0] > 40 > abs(ground[2] - ground[0])  # blue


def test_no_two_scenes_are_the_same():
    pixels, _ = mosaic(192, 192)
    scenes = [pixels[row : row + 96, column : column + 96] for row in (0, 96) for column in (0, 96)]
    assert len({scene.tobytes() for scene in scenes}) == 4


def test_the_seed_decides():
    assert not (mosaic(96, 96)[0] == mosaic(96, 96, seed=1)[0]).all()


def test_a_mosaic_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        next(draw_mosaic_strips(size=(0, 5)))


def test_a_category_can_be_left_out_and_the_rest_stays_in_its_place():
    (_, whole), (_, part) = mosaic(384, 384), mosaic(384, 384, without="storage tank")
    tank = RRSISHR_CLASSES.index("storage tank") + 1
    assert (whole == tank).any()
    np.testing.assert_array_equal(part, np.where(whole == tank, 0, whole))
    with pytest.raises(ValueError, match="no scene has a 'castle'; known: "):
        mosaic(96, 96, without="castle")
