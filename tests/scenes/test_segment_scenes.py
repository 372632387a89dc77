"""Many scenes: answers that appear whole and once, a table and a STAC collection of them."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyogrio
import pystac
import pytest
import rasterio
import shapely
from command_process import CADFORMER, start
from many_scenes import SENTENCES, make_job, read_tree, save_tiny_model, write_noise, write_scenes
from pystac.validation import validate_dict

from cadformer_d2.command_errors import run_command
from cadformer_d2.inference.raster import Scene
from cadformer_d2.inference.raster_segmentation import read_ahead
from cadformer_d2.inference.tile_options import TileOptions
from cadformer_d2.scenes.agenda import Agenda
from cadformer_d2.scenes.collection import write_collection, write_table
from cadformer_d2.scenes.local_engine import segment_locally
from cadformer_d2.scenes.source import SceneSource
from cadformer_d2.scenes.work_folder import finish, open_work_folder, remove_abandoned
from cadformer_d2.scenes.worker import Outcome, SceneWorker


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint and three scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    save_tiny_model(folder)
    write_scenes(folder, 3)
    return folder


@pytest.fixture
def call(files, monkeypatch, capfd):
    """Calls a command in the folder: exit status, what it says, what it complains about."""
    monkeypatch.chdir(files)

    def run(name, *arguments):
        from cadformer_d2.commands.main import call_command

        status, message = 0, ""
        monkeypatch.setattr(sys, "argv", list(sys.argv))
        try:
            run_command(lambda: call_command(name, [*OPTIONS, *arguments]))
        except SystemExit as stop:
            status, message = (stop.code, "") if isinstance(stop.code, int) else (1, stop.code)
        said = capfd.readouterr()
        return SimpleNamespace(status=status, stdout=said.out, stderr=said.err + (message or ""))

    return run


OPTIONS = ("--weights", "model.pth", "--device", "cpu", "--overlap", "16")
EXPRESSIONS = ("--expression", *SENTENCES)


@pytest.fixture(scope="module")
def whole(files):
    """The output of an uninterrupted run of all three scenes."""
    output = files / "whole"
    job = make_job(files / "model.pth", output)
    sources = [SceneSource(str(path)) for path in sorted(files.glob("scene*.tif"))]
    outcomes = list(segment_locally(job, sources))
    assert not any(outcome.error for outcome in outcomes)
    names = [outcome.name for outcome in outcomes]
    write_table(job, names, output / "results.gpkg")
    write_collection(job, names)
    return output


def test_each_mask_is_what_segment_raster_writes(files, whole, call):
    for number, sentence in enumerate(SENTENCES, start=1):
        assert call("segment-raster", "scene1.tif", sentence, "--mask", "one.tif").status == 0
        (mask,) = whole.glob(f"scenes/scene1-*/mask_{number}.tif")
        assert mask.read_bytes() == (files / "one.tif").read_bytes()
        (files / "one.tif").unlink()


def test_the_command_gives_the_same_files_and_goes_on_from_them(whole, call, tmp_path):
    line = ("segment-scenes", "scene?.tif", *EXPRESSIONS, "--output", str(tmp_path / "whole"))
    first = call(*line)
    assert first.status == 0, first.stderr
    assert "3 scenes (0 were there)" in first.stdout
    assert read_tree(tmp_path / "whole") == read_tree(whole)
    assert "3 scenes (3 were there)" in call(*line).stdout
    assert read_tree(tmp_path / "whole") == read_tree(whole)


def test_of_a_model_that_knows_absence_each_sentence_means_one_or_all_of_a_scene(
    files, call, tmp_path
):
    weights = ("--weights", str(save_tiny_model(tmp_path, presence_threshold=0.0)))
    sentences, output = ("the tank", "all tanks"), tmp_path / "out"
    line = ("scene?.tif", "--expression", *sentences, "--output", str(output), *weights)
    there = set()
    for wish, meant in (((), ("one", "all")), (("--targets", "all"), ("all", "all"))):
        result = call("segment-scenes", *line, *wish)
        assert "3 scenes (0 were there)" in result.stdout, result.stderr
        about, _, _, columns = pyogrio.raw.read(output / "results.gpkg")
        table = dict(zip(about["fields"], columns, strict=True))
        for sentence, targets in zip(sentences, meant, strict=True):
            rows = table["sentence"] == sentence
            assert set(table["targets"][rows]) == {targets}
            counts = [(table["scene"][rows] == scene).sum() for scene in set(table["scene"])]
            assert counts == [1, 1, 1] if targets == "one" else min(counts) > 1
        (answer,) = {*output.glob("scenes/scene1-*")} - there
        there.add(answer)
        item = json.loads((answer / "item.json").read_text())
        assert item["properties"]["cadformer:targets"] == list(meant)
        mask = tmp_path / f"{meant[0]}.tif"
        call("segment-raster", "scene1.tif", "the tank", *weights, *wish, "--mask", str(mask))
        assert (answer / "mask_1.tif").read_bytes() == mask.read_bytes()


def test_the_table_has_every_component_with_its_place_and_area(whole):
    about, _, geometry, columns = pyogrio.raw.read(whole / "results.gpkg", layer="referred")
    table = dict(zip(about["fields"], columns, strict=True))
    polygons = shapely.from_wkb(geometry)
    assert about["crs"] == "EPSG:4326" and len(polygons) > 10
    assert set(table["sentence"]) == set(SENTENCES) and len(set(table["scene"])) == 3
    keys = set(zip(table["scene"], table["sentence"], table["instance"], strict=True))
    assert len(keys) == len(polygons)
    for name in {path.name for path in whole.glob("scenes/*")}:
        item = json.loads((whole / "scenes" / name / "item.json").read_text())
        of_scene = table["scene"] == item["properties"]["cadformer:scene"]
        outline = shapely.box(*item["bbox"]).buffer(1e-6)
        assert shapely.contains(outline, polygons[of_scene]).all()
        for number, sentence in enumerate(SENTENCES, start=1):
            with rasterio.open(whole / "scenes" / name / f"mask_{number}.tif") as mask:
                num_pixels = int((mask.read(1) == 1).sum())
            rows = of_scene & (table["sentence"] == sentence)
            assert table["area_px"][rows].sum() == num_pixels
            assert item["properties"]["cadformer:num_polygons"][number - 1] == rows.sum()
    # A pixel is 2 m x 2 m on the map, whose scale at the zone's meridian is 0.9996; coordinates
    # are rounded to a hundredth of a pixel.
    assert table["area_m2"] == pytest.approx(table["area_px"] * 4 / 0.9996**2, rel=5e-3)
    assert (table["mean_probability"] > 0.5).all()


def test_the_collection_is_valid_and_leads_to_every_mask(whole):
    collection = pystac.Collection.from_file(str(whole / "collection.json"))
    validate_dict(collection.to_dict())
    items = list(collection.get_items())
    assert len(items) == 3
    for item in items:
        # The schemas of extensions are on the network only.
        validate_dict({**item.to_dict(), "stac_extensions": []})
        assert item.get_collection().id == collection.id
        for asset in item.assets.values():
            assert os.path.exists(asset.get_absolute_href())


def test_several_sentences_read_each_tile_once(files, tmp_path, monkeypatch):
    windows = []
    read = Scene.read
    monkeypatch.setattr(Scene, "read", lambda *a: windows.append(a[1]) or read(*a))
    job = make_job(files / "model.pth", tmp_path / "out")
    (outcome,) = segment_locally(job, [SceneSource(str(files / "scene0.tif"))])
    assert len(windows) == outcome.num_tiles == len(set(windows)) == 6


def test_what_is_read_ahead_is_one_item():
    began = []
    results = read_ahead(lambda item: began.append(item) or item, range(5))
    assert next(results) == 0
    time.sleep(0.05)
    assert began == [0, 1]
    assert list(results) == [1, 2, 3, 4]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bytes(files, whole, call, tmp_path, signal_number):
    output, errors = tmp_path / "whole", tmp_path / "errors"
    scenes = [str(path) for path in sorted(files.glob("scene?.tif"))]
    line = ("segment-scenes", *scenes, *EXPRESSIONS, "--output", output, *OPTIONS)
    process = start(CADFORMER, *line, folder=files, output=os.devnull, errors=errors)
    tiles, record = "unfinished/scene1-*/tiles_1/tiles.bin", 1 + 4 + 64 * 64
    while not any(file.stat().st_size >= 2 * record for file in output.glob(tiles)):
        assert process.exitcode is None, errors.read_text()
        time.sleep(0.002)
    os.kill(process.pid, signal_number)
    process.join()
    if signal_number == signal.SIGINT:
        said = errors.read_text()
        assert "call it again to go on" in said and "Traceback" not in said
    assert len(list(output.glob("scenes/*"))) == 1  # whole, as the next lines compare
    resumed = call("segment-scenes", *scenes, *EXPRESSIONS, "--output", str(output))
    assert resumed.status == 0 and "(1 were there)" in resumed.stdout, resumed.stderr
    assert not list((output / "unfinished").iterdir())
    assert read_tree(output) == read_tree(whole)


def test_a_broken_scene_is_named_at_the_end_and_the_others_are_done(files, call):
    (files / "torn.tif").write_bytes((files / "scene0.tif").read_bytes()[:30_000])
    (files / "list.txt").write_text("# broken ones first\ntorn.tif\nmissing.tif\n\nscene?.tif\n")
    result = call("segment-scenes", "list.txt", *EXPRESSIONS, "--output", "some")
    assert result.status == 1 and "2 of 5 scenes failed" in result.stderr
    assert result.stderr.count("failed: ") == 2 and "Traceback" not in result.stderr
    assert "missing.tif cannot be opened as a raster" in result.stderr
    assert len(list((files / "some" / "scenes").iterdir())) == 3
    failed = files / "some" / "failed.txt"
    assert failed.read_text() == f"{files}/torn.tif\n{files}/missing.tif\n"
    write_noise(files / "torn.tif", seed=7)
    write_noise(files / "missing.tif", seed=8)
    assert call("segment-scenes", str(failed), *EXPRESSIONS, "--output", "some").status == 0
    assert not failed.exists() and len(list((files / "some" / "scenes").iterdir())) == 5


def test_a_full_disk_is_one_message_a_scene_and_leaves_nothing_half(files, whole, call, small_disk):
    output = small_disk(48) / "whole"  # kilobytes: less than the tiles of a scene take
    scenes = [str(path) for path in sorted(files.glob("scene?.tif"))]
    line = ("segment-scenes", *scenes, *EXPRESSIONS, "--output", str(output), "--retries", "0")
    result = call(*line)
    assert result.status == 1 and "Traceback" not in result.stderr
    assert not (output / "scenes").exists() and "could not be written" in result.stderr
    subprocess.run(["mount", "-o", "remount,size=8m", str(output.parent)], check=True)
    assert call(*line).status == 0
    assert read_tree(output) == read_tree(whole)


def test_a_failed_scene_is_tried_again_behind_the_others():
    bad, good = SceneSource("bad"), SceneSource("good")
    agenda, order = Agenda([bad, good], retries=2), []
    while agenda:
        source = agenda.next()
        order.append(source.location)
        agenda.is_final(Outcome(source, error="broken" if source is bad else ""))
    assert order == ["bad", "good", "bad", "bad"]


CHANGES = {
    "sentences": {"sentences": ("the tank",)},
    "order of sentences": {"sentences": SENTENCES[::-1]},
    "tiles": {"tiles": TileOptions(overlap=17)},
    "targets": {"targets": "one"},
    "bands": {"bands": (3, 2, 1)},
    "stretch": {"percentiles": (1.0, 99.0)},
    "dtype": {"dtype": "bfloat16"},
    "checkpoint": {"checkpoint": "0" * 16},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_tells_apart_what_gives_another_answer(files, tmp_path, change):
    ours = make_job(files / "model.pth", tmp_path / "a")
    other = make_job(files / "model.pth", tmp_path / "b", **CHANGES[change])
    identity = {"scene": "a.tif", "changed": 1, "bytes": 2}
    assert ours.key(identity) != other.key(identity)
    assert ours.key(identity) != ours.key({**identity, "changed": 2})
    same = make_job(files / "model.pth", tmp_path / "c", device=None, batch_size=3, num_threads=2)
    assert ours.key(identity) == same.key(identity)


def test_a_scene_that_changed_is_segmented_again(files, tmp_path):
    path = write_noise(tmp_path / "scene.tif")
    worker = SceneWorker(make_job(files / "model.pth", tmp_path / "out"))
    first = worker.segment(SceneSource(str(path)))
    assert worker.segment(SceneSource(str(path))).num_tiles == 0
    write_noise(path, seed=1)
    os.utime(path, (0, 0))
    second = worker.segment(SceneSource(str(path)))
    assert first.num_tiles == second.num_tiles == 6 and first.name != second.name


def test_a_work_folder_in_use_is_left_alone_and_the_first_to_finish_wins(tmp_path):
    unfinished, final = tmp_path / "unfinished", tmp_path / "scenes" / "a"
    with open_work_folder(unfinished, "a") as ours:
        with open_work_folder(unfinished, "a") as theirs:
            assert theirs != ours
            remove_abandoned(unfinished)
            assert theirs.is_dir() and ours.is_dir()
            for folder, text in ((theirs, "first"), (ours, "second")):
                (folder / "answer").mkdir()
                (folder / "answer" / "file").write_text(text)
            finish(theirs / "answer", final)
        finish(ours / "answer", final)
    assert (final / "file").read_text() == "first" and not list(unfinished.iterdir())
    (unfinished / "a.private-0").mkdir()  # of a process that was killed
    remove_abandoned(unfinished)
    assert not list(unfinished.iterdir())


def test_a_table_keeps_the_other_layers_of_a_geopackage(files, whole, tmp_path):
    project = tmp_path / "project.gpkg"
    point = shapely.to_wkb(shapely.Point(1, 2))
    pyogrio.raw.write(
        project, np.array([point], object), [], [], layer="mine", driver="GPKG",
        geometry_type="Point", crs="EPSG:3857",
    )  # fmt: skip
    job = make_job(files / "model.pth", whole)
    names = sorted(path.name for path in whole.glob("scenes/*"))
    for _ in range(2):  # the second time, our layer is there, too
        count = write_table(job, names, project)
        assert [name for name, _ in pyogrio.list_layers(project)] == ["mine", "referred"]
        assert pyogrio.read_info(project, layer="referred")["features"] == count
        assert pyogrio.read_info(project, layer="mine")["features"] == 1


def test_a_scene_without_a_place_on_earth_has_rows_without_geometry(files, tmp_path):
    job = make_job(files / "model.pth", tmp_path / "out")
    flat = write_noise(tmp_path / "flat.tif", crs=None)
    sources = [SceneSource(str(flat)), SceneSource(str(files / "scene0.tif"))]
    outcomes = list(segment_locally(job, sources))
    assert "has no CRS" in outcomes[0].doubts[0] and not outcomes[1].doubts
    count = write_table(job, [outcome.name for outcome in outcomes], tmp_path / "all.gpkg")
    _, _, geometry, columns = pyogrio.raw.read(tmp_path / "all.gpkg")
    is_flat = columns[0] == str(flat)
    assert 0 < is_flat.sum() < count
    assert all(g is None for g in geometry[is_flat]) and None not in geometry[~is_flat]
    write_collection(job, [outcome.name for outcome in outcomes])
    validate_dict(json.loads((job.output / "collection.json").read_text()))


MISTAKES = {
    "a folder": ((".", *EXPRESSIONS, "--output", "new"), "is a folder; name its files"),
    "no match": (("x*.tif", *EXPRESSIONS, "--output", "new"), "x*.tif matches no file"),
    "no words": (("scene0.tif", "--expression", " ", "--output", "new"), "an expression is empty"),
    "twice": (("scene0.tif", "--expression", "a", "a", "--output", "new"), "given twice"),
    "another's folder": (("scene0.tif", *EXPRESSIONS, "--output", "."), "no output of this"),
    "table": (("scene0.tif", *EXPRESSIONS, "--output", "new", "--table", "a.shp"), "as .gpkg"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(files, call, mistake):
    before = sorted(files.iterdir())
    arguments, message = MISTAKES[mistake]
    result = call("segment-scenes", *arguments)
    assert result.status == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert sorted(files.iterdir()) == before
