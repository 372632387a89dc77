import numpy as np
import pytest
import shapely
from oracle import blob

from cadformer_d2.dataset_building.images import mask_iou
from cadformer_d2.dataset_building.outlines import (
    Ring,
    paint_rings,
    split_rings,
    trace_outline,
    trace_rings,
)


@pytest.mark.parametrize("seed", range(12))
def test_exact_outlines_give_every_pixel_back(seed):
    mask = blob(seed, blur=1.0 + 0.5 * (seed % 4))
    np.testing.assert_array_equal(paint_rings(split_rings(trace_outline(mask)), *mask.shape), mask)


@pytest.mark.parametrize("seed", range(12))
def test_simplified_outlines_keep_the_mask_with_fewer_points(seed):
    mask = blob(seed, blur=5.0)
    rings = trace_rings(mask)
    assert mask_iou(paint_rings(rings, *mask.shape), mask) >= 0.99
    exact = sum(len(ring.points) for ring in split_rings(trace_outline(mask)))
    assert sum(len(ring.points) for ring in rings) < 0.7 * exact


def test_a_large_smooth_object_has_few_points_to_edit():
    y, x = np.mgrid[:200, :200]
    (ring,) = trace_rings((x - 100) ** 2 + (y - 100) ** 2 < 60**2)
    assert len(ring.points) < 100


def test_an_island_in_a_hole_survives_whatever_the_order_of_the_rings():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mask[10:30, 10:30] = False
    mask[15:25, 15:25] = True
    rings = trace_rings(mask)
    assert [ring.is_hole for ring in rings].count(True) == 1 and len(rings) == 3
    for ordered in (rings, rings[::-1]):
        np.testing.assert_array_equal(paint_rings(ordered, 40, 40), mask)


def test_a_higher_layer_is_painted_later_even_if_it_is_larger():
    small = Ring(((5, 5), (15, 5), (15, 15), (5, 15)), is_hole=False)
    large_hole = Ring(((0, 0), (20, 0), (20, 20), (0, 20)), is_hole=True, layer=1)
    assert not paint_rings([small, large_hole], 30, 30).any()


def test_points_outside_the_image_are_cut_off():
    ring = Ring(((-5, -5), (50, -5), (50, 10), (-5, 10)), is_hole=False)
    expected = np.zeros((20, 30), bool)
    expected[:10] = True
    np.testing.assert_array_equal(paint_rings([ring], 20, 30), expected)


@pytest.mark.parametrize("size", [6, 25, 80])
def test_a_ring_fills_exactly_the_pixels_whose_centres_it_encloses(size):
    rng = np.random.default_rng(size)
    y, x = np.mgrid[:60, :90] + 0.5
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
        offsets = rng.uniform(0.3, 1, (len(angles), 1)) * size
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = rng.uniform((-10, -10), (100, 70)) + offsets * directions
        exact = shapely.contains_xy(shapely.Polygon(points), x, y)
        ring = Ring(tuple(map(tuple, points)), is_hole=False)
        np.testing.assert_array_equal(paint_rings([ring], 60, 90), exact)


def test_an_outline_that_only_damage_can_have_made_is_refused():
    zigzag = ((0.0, -1e6), (9.0, 1e6)) * 2_500
    with pytest.raises(ValueError, match="crosses 5000000 rows of pixels; it is damaged"):
        paint_rings([Ring(zigzag, is_hole=False)], 1000, 10)


def test_an_empty_mask_has_no_outline():
    assert trace_rings(np.zeros((5, 5), bool)) == []
