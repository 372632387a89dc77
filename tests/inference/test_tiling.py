import cv2
import numpy as np
import pytest

from cadformer_d2.inference.tiling import (
    TileGrid,
    Window,
    blend,
    blending_weight,
    block_windows,
    resample_part,
    window_starts,
)


@pytest.mark.parametrize("length", [1, 5, 96, 97, 500, 1001])
@pytest.mark.parametrize(("window", "overlap"), [(96, 0), (96, 32), (96, 95), (7, 3)])
def test_windows_cover_the_axis_overlap_enough_and_end_at_its_end(length, window, overlap):
    starts = window_starts(length, window, overlap)
    if window >= length:
        assert starts == [0]
        return
    assert starts[0] == 0 and starts[-1] + window == length
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= window - overlap).all()


def test_an_overlap_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match="overlap 96 must be at least 0 and less than the window"):
        window_starts(500, 96, 96)


def test_blocks_cover_every_pixel_once():
    covered = np.zeros((70, 45), int)
    whole = Window(0, 0, 70, 45)
    for block in block_windows((70, 45), 32):
        covered[block.within(whole)] += 1
    assert (covered == 1).all()


def joined(size, tile, overlap, function, *, block=64):
    """A scene put together from tiles that each know ``function`` of their pixels."""
    tiles = [(w, function(w)) for w in TileGrid.covering(size, tile, overlap)]
    scene, whole = np.empty(size, np.float32), Window(0, 0, *size)
    for part in block_windows(size, block):
        scene[part.within(whole)] = blend(part, tiles)
    return scene


def test_constant_tiles_give_a_constant():
    scene = joined((150, 210), (96, 96), (32, 32), lambda w: np.full((w.height, w.width), 0.3))
    np.testing.assert_allclose(scene, 0.3, rtol=1e-5)


@pytest.mark.parametrize(("tile", "overlap"), [((96, 96), (8, 8)), ((50, 80), (25, 40))])
def test_tiles_of_one_field_give_the_field_however_it_was_cut(tile, overlap):
    field = np.random.default_rng(0).random((150, 210)).astype(np.float32)
    whole = Window(0, 0, 150, 210)
    scene = joined((150, 210), tile, overlap, lambda w: field[w.within(whole)])
    np.testing.assert_allclose(scene, field, atol=1e-5)


def test_tiles_that_disagree_fade_into_each_other():
    # The left tile says 0, the right one 1: no step in between is larger than the ramp's.
    scene = joined(
        (40, 100), (40, 60), (0, 20), lambda w: np.full((40, 60), float(w.column > 0)), block=40
    )
    profile = scene[20]
    assert profile[0] == 0 and profile[-1] == 1
    assert (np.diff(profile) >= -1e-6).all() and np.diff(profile).max() < 0.1


def test_the_middle_is_believed_most_and_no_pixel_not_at_all():
    window = Window(10, 20, 31, 47)
    weight = blending_weight(window, window)
    assert weight.min() > 0 and weight[15, 23] == weight.max() == 1
    np.testing.assert_array_equal(weight, weight[::-1, ::-1])
    part = Window(15, 30, 8, 9)
    np.testing.assert_array_equal(blending_weight(window, part), weight[part.within(window)])


def test_a_raster_smaller_than_a_tile_is_one_tile_of_its_size():
    assert TileGrid.covering((50, 200), (96, 96), (10, 10))[0] == Window(0, 0, 50, 96)
    assert list(TileGrid.covering((50, 60), (96, 96), (10, 10))) == [Window(0, 0, 50, 60)]


@pytest.mark.parametrize(("tile", "overlap"), [((96, 96), (8, 8)), ((50, 80), (25, 0))])
def test_the_tiles_that_touch_a_block_are_all_found_and_no_others(tile, overlap):
    grid = TileGrid.covering((350, 410), tile, overlap)
    for block in block_windows((350, 410), 64):
        touching = [i for i, window in enumerate(grid) if window.overlap(block) is not None]
        assert list(grid.touching(block)) == touching


def test_a_part_of_a_coarse_tile_is_the_same_part_of_the_enlarged_tile():
    coarse = np.random.default_rng(0).random((24, 30)).astype(np.float32)
    window, part = Window(100, 200, 96, 120), Window(130, 210, 40, 50)
    enlarged = cv2.resize(coarse, (120, 96), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(
        resample_part(coarse, window, part), enlarged[part.within(window)], atol=1e-4
    )
