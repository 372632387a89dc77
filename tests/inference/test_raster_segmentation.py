"""Maps of large rasters, with a segmenter that knows the answer."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from scene_files import HEIGHT, WIDTH, bright, truth, write_scene

from cadformer_d2.inference.connected_components import paint_component
from cadformer_d2.inference.mask_file import MaskFile
from cadformer_d2.inference.mask_predictor import ReferredMask
from cadformer_d2.inference.raster import Scene
from cadformer_d2.inference.raster_segmentation import (
    TilePlan,
    assemble_components,
    describe_job,
    find_place_words,
    segment_tiles,
)
from cadformer_d2.inference.scene_targets import (
    choose_targets,
    find_best_component,
    read_targets,
    weigh_answer,
    write_component_mask,
)
from cadformer_d2.inference.tile_store import TileStore
from cadformer_d2.inference.tiling import Window, block_windows

PLAN = TilePlan(tile=(96, 96), overlap=(24, 24))
NUM_TILES = len(PLAN.grid((HEIGHT, WIDTH)))


def run(path, folder, *, plan=PLAN, segment=bright, resume=False, batch_size=1, **scene_options):
    """Mask (height, width) as written, and the components."""
    scene = Scene(path, **scene_options)
    grid = plan.grid(scene.size)
    store = TileStore(
        folder / "tiles",
        job=describe_job(scene, plan),
        num_tiles=len(grid),
        shape=(96, 96) if plan.mode == "tiles" else (100, 433),
        resume=resume,
    )
    num_done = int(store.is_done.sum())
    asked = segment_tiles(
        scene, grid, store, lambda tiles: list(map(segment, tiles)), batch_size=batch_size
    )
    assert num_done + sum(asked) == len(grid)
    mask_file = MaskFile(scene, store.folder)
    components = list(assemble_components(scene, grid, store, mask_file))
    mask_file.finish(folder / "mask.tif")
    with rasterio.open(folder / "mask.tif") as result:
        mask = result.read(1)
    store.remove()
    return mask, components


@pytest.mark.parametrize("tile", [(96, 96), (128, 200), (300, 700)])
def test_the_map_does_not_depend_on_how_the_scene_was_cut(tmp_path, tile):
    plan = TilePlan(tile=tile, overlap=(30, 30))
    mask, components = run(write_scene(tmp_path / "s.tif"), tmp_path, plan=plan)
    # Tiles other than the network's are resampled, which moves edges by less than two pixels.
    wrong = (mask == 1) != truth()
    assert wrong.sum() == 0 if tile == (96, 96) else wrong.mean() < 0.004
    assert len(components) == 2


def test_a_piece_across_the_seam_of_blocks_is_one_polygon_with_its_own_numbers(tmp_path):
    _, components = run(write_scene(tmp_path / "s.tif"), tmp_path)
    sizes = sorted((component.num_pixels, component.polygon.area) for component in components)
    assert sizes == [(30 * 40, 30 * 40), (60 * 100, 60 * 100)]
    for component in components:
        assert component.probability_sum / component.num_pixels == pytest.approx(0.9, abs=0.01)
        assert len(component.polygon.exterior.coords) == 5  # a rectangle, without marks of the seam


def test_pixels_without_data_are_neither_asked_nor_answered(tmp_path):
    hole = (0, 0, 300, 250)  # the whole left end, with the smaller target
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=hole)
    asked = []
    mask, components = run(path, tmp_path, segment=lambda pixels: asked.append(1) or bright(pixels))
    assert (mask[:, :250] == 255).all() and (mask[:, 250:] != 255).all()
    assert len(components) == 1
    assert len(asked) < NUM_TILES


def test_what_is_no_number_is_neither_target_nor_ground(tmp_path):
    path = write_scene(tmp_path / "s.tif", dtype="float32", nodata=np.nan, hole=(0, 0, 300, 250))
    mask, components = run(path, tmp_path)
    assert (mask[:, :250] == 255).all() and (mask[:, 250:] != 255).all()
    assert len(components) == 1


def test_a_scene_without_data_gives_an_empty_map(tmp_path):
    path = write_scene(tmp_path / "s.tif", nodata=0, hole=(0, 0, HEIGHT, WIDTH))
    mask, components = run(path, tmp_path)
    assert (mask == 255).all() and components == []


def test_a_polygon_ends_where_the_data_end(tmp_path):
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=(0, 1030, 300, 200))
    yes = np.full((96, 96), 0.9, np.float32)
    mask, components = run(path, tmp_path, segment=lambda pixels: yes)
    assert (mask[:, 1030:1230] == 255).all() and (np.delete(mask, range(1030, 1230), 1) == 1).all()
    assert sorted(component.num_pixels for component in components) == [300 * 70, 300 * 1030]


@pytest.mark.parametrize("stop_after", [0, 7, 50])
def test_an_interrupted_run_goes_on_with_the_tiles_that_are_left(tmp_path, stop_after):
    path = write_scene(tmp_path / "s.tif")
    asked = []

    def interrupted(pixels):
        if len(asked) == stop_after:
            raise KeyboardInterrupt
        asked.append(1)
        return bright(pixels)

    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path, segment=interrupted)
    with pytest.raises(ValueError, match="has an unfinished run; continue with --resume"):
        run(path, tmp_path)
    again = []
    mask, _ = run(
        path, tmp_path, segment=lambda pixels: again.append(1) or bright(pixels), resume=True
    )
    assert len(asked) + len(again) == NUM_TILES
    assert ((mask == 1) == truth()).all()


@pytest.mark.parametrize("batch_size", [5, 1000])
def test_tiles_asked_together_give_the_same_map(tmp_path, batch_size):
    path = write_scene(tmp_path / "s.tif")
    assert (run(path, tmp_path)[0] == run(path, tmp_path, batch_size=batch_size)[0]).all()


def test_the_whole_scene_is_asked_once(tmp_path):
    asked = []

    def segment(pixels):
        asked.append(pixels.shape)
        return bright(pixels)

    plan = TilePlan(mode="whole")
    mask, _ = run(write_scene(tmp_path / "s.tif"), tmp_path, plan=plan, segment=segment)
    assert asked == [(100, 433, 3)]
    wrong = (mask == 1) != truth()
    assert wrong.mean() < 0.004  # a third of the resolution


def test_a_truncated_scene_is_named_and_leaves_no_map(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(OSError, match=r"s\.tif is damaged: .* cannot be read"):
        run(path, tmp_path)
    assert not (tmp_path / "mask.tif").exists()


MISTAKES = {
    "mode": ({"mode": "strips"}, "known: tiles, whole"),
    "no tile": ({"tile": (0, 0), "overlap": (0, 0)}, "tile is 0 x 0 pixels; it is empty"),
    "overlap": ({"tile": (96, 96), "overlap": (24, 96)}, "overlap of 96 pixels does not fit tiles"),
    "below 0": ({"overlap": (-1, 0)}, "an overlap of -1 pixels"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_plan_that_cannot_be_is_refused(mistake):
    options, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        TilePlan(**options)


def test_words_for_places_are_found():
    assert find_place_words("the tank in the upper left corner") == ["upper", "left", "corner"]
    assert find_place_words("the leftmost tank") == ["leftmost"]
    assert find_place_words("the largest tank") == []


def upper_half(pixels):
    """Probabilities of a network that is asked for what is on top."""
    answer = np.zeros(pixels.shape[:2], np.float32)
    answer[: len(answer) // 2] = 0.9
    return answer


@pytest.mark.parametrize(
    ("rows", "columns"),
    [("north", "east"), ("south", "east"), ("north", "west"), ("south", "west")],
)
def test_the_network_sees_north_up_however_the_file_runs(tmp_path, rows, columns):
    """What is on top is in the north: the first rows of most files, the last rows of some."""
    across = Affine(0.5, 0, 5e5, 0, -0.5, 5.3e6) @ Affine.scale(
        -1 if columns == "west" else 1, -1 if rows == "south" else 1
    )
    seen = []
    path = write_scene(tmp_path / "s.tif", transform=across)
    whole = TilePlan(mode="whole")
    mask, _ = run(
        path, tmp_path, plan=whole, segment=lambda pixels: seen.append(pixels) or upper_half(pixels)
    )
    is_north = np.arange(HEIGHT)[:, None] < HEIGHT // 2
    if rows == "south":
        is_north = is_north[::-1]
    np.testing.assert_array_equal(mask == 1, np.broadcast_to(is_north, mask.shape))
    (pixels,) = seen
    # The large target lies in the last columns of the file.
    fullest = (pixels.mean(axis=2) > 150).sum(axis=0).argmax()
    assert (fullest > pixels.shape[1] / 2) == (columns == "east")


EXPRESSIONS = {
    "the storage tank": "one",
    "The storage tank on the left": "one",
    "the storage tanks": "all",
    "the tank beside the two swimming pools": "one",
    "the storage tank next to the tennis courts": "one",
    "the buses": "all",
    "the bus": "one",
    "the two tennis courts on the left": "all",
    "the 3 tennis courts": "all",
    "all storage tanks": "all",
    "every roundabout south of the road": "all",
    "storage tanks": "all",
    "a storage tank": "all",
    "the": "all",
    "theatre": "all",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_words_say_whether_one_object_is_meant(expression):
    names = ("storage tank", "tennis court", "swimming pool", "bus", "roundabout")
    assert read_targets(expression, names) == EXPRESSIONS[expression]


@pytest.mark.parametrize("says_presence", [False, True])
def test_only_of_a_model_that_knows_absence_the_words_say_it(says_presence):
    predictor = SimpleNamespace(says_presence=says_presence, object_names=("storage tank",))
    chosen = [choose_targets("the storage tank", w, predictor) for w in (None, "one", "all")]
    assert chosen == ["one" if says_presence else "all", "one", "all"]


@pytest.mark.parametrize(
    ("targets", "presence", "weighed"), [("all", 0.5, 0.8), ("one", 0.5, 0.4), ("one", None, 0.8)]
)
def test_where_one_is_meant_answers_count_as_much_as_their_presence(targets, presence, weighed):
    probability = np.full((2, 2), 0.8, np.float32)
    answer = ReferredMask("the tank", probability, probability > 0.5, presence)
    np.testing.assert_allclose(weigh_answer(answer, targets), weighed, rtol=1e-6)


def surer_of_the_small(pixels):
    """Finds both targets; 0.9 where a tile shows only a little of one, 0.7 elsewhere."""
    found = bright(pixels) > 0
    return np.where(found, 0.9 if found.mean() < 0.15 else 0.7, 0).astype(np.float32)


def test_one_object_of_the_scene_is_the_likeliest_over_its_tiles(tmp_path):
    path = write_scene(tmp_path / "s.tif")
    _, components = run(path, tmp_path, segment=surer_of_the_small)
    assert len(components) == 2
    best = find_best_component(components)
    assert best.num_pixels == min(component.num_pixels for component in components)
    scene = Scene(path)
    folder = tmp_path / "mask"
    folder.mkdir()
    mask_file = MaskFile(scene, folder)
    write_component_mask(scene, best, mask_file)
    mask_file.finish(folder / "one.tif")
    with rasterio.open(folder / "one.tif") as result:
        mask = result.read(1)
    assert (mask == 1).sum() == best.num_pixels
    assert (mask == 1)[20:50, 200:240].mean() > 0.95


def test_a_component_across_blocks_is_painted_whole(tmp_path):
    path = write_scene(tmp_path / "s.tif")  # the large target crosses the border of two blocks
    mask, components = run(path, tmp_path)
    largest = max(components, key=lambda component: component.num_pixels)
    painted = np.zeros_like(mask)
    for block in block_windows((HEIGHT, WIDTH), 1024):
        rows, columns = block.within(Window(0, 0, HEIGHT, WIDTH))
        painted[rows, columns] = paint_component(largest, block)
    assert painted.sum() == 60 * 100 and (painted <= (mask == 1)).all()


def test_of_nothing_there_is_no_best_and_the_mask_is_empty(tmp_path):
    path = write_scene(tmp_path / "s.tif", nodata=255, hole=(0, 0, 300, 250))
    assert find_best_component([]) is None
    mask_file = MaskFile(Scene(path), tmp_path)
    write_component_mask(Scene(path), None, mask_file)
    mask_file.finish(tmp_path / "one.tif")
    with rasterio.open(tmp_path / "one.tif") as result:
        assert set(np.unique(result.read(1))) == {0, 255}


def test_tiles_without_a_target_are_counted_also_after_an_interruption(tmp_path):
    store = {"job": {}, "num_tiles": 3, "shape": (4, 4)}
    first = TileStore(tmp_path / "t", **store, resume=False)
    first.put(0, np.zeros((4, 4), np.float32))
    first.put(1, np.full((4, 4), 0.4, np.float32))
    again = TileStore(tmp_path / "t", **store, resume=True)
    assert first.is_blank.tolist() == again.is_blank.tolist() == [True, False, False]
    assert again.is_done.tolist() == [True, True, False]


def blind_at_its_border(pixels):
    """Finds the targets, but nothing in the outermost eight pixels of a tile."""
    answer = bright(pixels)
    answer[:8] = answer[-8:] = answer[:, :8] = answer[:, -8:] = 0
    return answer


def absent_where_little_is_seen(pixels):
    """Declares absent what fills less than a fiftieth of a tile."""
    answer = bright(pixels)
    return answer if (answer > 0).mean() > 0.02 else np.zeros_like(answer)


@pytest.mark.parametrize("segment", [blind_at_its_border, absent_where_little_is_seen])
@pytest.mark.parametrize("overlap", [24, 47])
def test_what_tiles_cut_is_one_object_in_their_blended_probability(tmp_path, segment, overlap):
    path = write_scene(tmp_path / "s.tif")
    plan = TilePlan(tile=(96, 96), overlap=(overlap, overlap))
    mask, components = run(path, tmp_path, plan=plan, segment=segment)
    assert len(components) == 2  # the large one lies in several tiles
    assert ((mask == 1) & truth()).sum() > 0.97 * truth().sum()
    assert not ((mask == 1) & ~truth()).any()
