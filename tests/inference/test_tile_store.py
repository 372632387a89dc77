import os

import numpy as np
import pytest

from cadformer_d2.inference.tile_store import TileStore

SHAPE = (6, 8)


def store(folder, *, resume=False, job=None, num_tiles=5):
    return TileStore(
        folder / "tiles", job=job or {"scene": "a"}, num_tiles=num_tiles, shape=SHAPE, resume=resume
    )


def tile(seed):
    return np.random.default_rng(seed).random(SHAPE).astype(np.float32)


def test_tiles_come_back_to_the_accuracy_of_eight_bits_in_any_order(tmp_path):
    tiles = store(tmp_path)
    for index in (3, 0, 4):
        tiles.put(index, tile(index))
    for index in (0, 4, 3):
        np.testing.assert_allclose(tiles.get(index), tile(index), atol=0.5 / 255)
    assert list(tiles.missing()) == [1, 2]


def test_a_resumed_store_knows_what_it_has(tmp_path):
    store(tmp_path).put(2, np.zeros(SHAPE, np.float32))  # all zeros, as a hole in the file
    resumed = store(tmp_path, resume=True)
    assert list(resumed.missing()) == [0, 1, 3, 4]
    assert (resumed.get(2) == 0).all()


@pytest.mark.parametrize("lost_bytes", [1, 40])
def test_a_tile_that_was_cut_off_counts_as_missing(tmp_path, lost_bytes):
    tiles = store(tmp_path)
    for index in range(5):
        tiles.put(index, tile(index))
    os.truncate(tiles.path, tiles.path.stat().st_size - lost_bytes)
    assert list(store(tmp_path, resume=True).missing()) == [4]


def test_a_tile_that_was_damaged_counts_as_missing(tmp_path):
    tiles = store(tmp_path)
    for index in range(5):
        tiles.put(index, tile(index))
    content = bytearray(tiles.path.read_bytes())
    content[tiles.record_bytes + 20] ^= 1
    tiles.path.write_bytes(content)
    assert list(store(tmp_path, resume=True).missing()) == [1]


def test_an_unfinished_run_is_not_overwritten_and_not_mixed_with_another(tmp_path):
    store(tmp_path).put(0, tile(0))
    with pytest.raises(ValueError, match="has an unfinished run; continue with --resume"):
        store(tmp_path)
    with pytest.raises(ValueError, match="has tiles of another job"):
        store(tmp_path, resume=True, job={"scene": "b"})


def test_a_finished_store_leaves_nothing_behind(tmp_path):
    tiles = store(tmp_path)
    tiles.put(0, tile(0))
    tiles.remove()
    assert list(tmp_path.iterdir()) == []
