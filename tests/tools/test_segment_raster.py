"""The raster command, as a user calls it, with a small untrained network."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from command_process import start
from many_scenes import save_tiny_model
from rasterio.transform import Affine

from cadformer_d2.command_errors import run_command

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint and a scene of 16 bits in UTM."""
    folder = tmp_path_factory.mktemp("raster")
    save_tiny_model(folder)
    values = np.random.default_rng(0).integers(200, 3000, (4, 100, 150), dtype=np.uint16)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": 100, "width": 150}
    profile |= {"crs": "EPSG:32632", "transform": Affine(2, 0, 5e5, 0, -2, 5.3e6)}
    with rasterio.open(folder / "scene.tif", "w", **profile) as scene:
        scene.write(values)
    return folder


def command_line(*arguments, expression="the tank", weights="model.pth"):
    """What a user types, after the interpreter."""
    tool = str(ROOT / "tools" / "segment_raster.py")
    return [tool, "scene.tif", expression, "--weights", str(weights), "--device", "cpu", *arguments]


@pytest.fixture
def segment_raster(files, monkeypatch, capfd):
    """Calls the command in the folder: exit status, what it says, and what it complains about."""
    monkeypatch.chdir(files)
    from cadformer_d2.commands.segment_raster import main

    def call(*arguments, **options):
        monkeypatch.setattr(sys, "argv", command_line(*arguments, **options))
        status, message = 0, ""
        try:
            run_command(main)
        except SystemExit as stop:
            status, message = (stop.code, "") if isinstance(stop.code, int) else (1, stop.code)
        said = capfd.readouterr()
        return SimpleNamespace(status=status, stdout=said.out, stderr=said.err + message)

    return call


def test_a_sentence_and_a_scene_give_a_mask_and_polygons(files, segment_raster):
    result = segment_raster("--mask", "out/mask.tif", "--vector", "out/tank.geojson")
    assert result.status == 0, result.stderr
    with rasterio.open(files / "out" / "mask.tif") as mask:
        assert mask.shape == (100, 150) and mask.crs.to_epsg() == 32632
        assert (mask.read(1) == 1).any()
    features = json.loads((files / "out" / "tank.geojson").read_text())["features"]
    assert f"{len(features)} polygons; 0.0 megapixels in " in result.stdout
    assert "written: out/mask.tif, out/tank.geojson" in result.stdout
    assert features[0]["properties"]["sentence"] == "the tank"
    # Nothing of the work is left behind.
    assert sorted(p.name for p in (files / "out").iterdir()) == ["mask.tif", "tank.geojson"]


def polygons(folder, name):
    return json.loads((folder / name).read_text())


def test_a_scene_of_tiles_declared_absent_has_no_polygon(files, segment_raster):
    weights = save_tiny_model(files, name="presence", presence_threshold=1.0)
    outputs = ("--mask", "none.tif", "--vector", "none.geojson")
    for expression in ("all tanks", "the tank"):
        result = segment_raster(*outputs, "--overwrite", expression=expression, weights=weights)
        assert result.status == 0, result.stderr
        assert "0 polygons" in result.stdout and "6 of 6 tiles have no target" in result.stdout
        written = polygons(files, "none.geojson")
        assert written["features"] == [] and written["num_instances"] == 0
        with rasterio.open(files / "none.tif") as mask:
            assert not mask.read(1).any()


def test_all_and_the_are_what_they_say_of_a_model_that_knows_absence(files, segment_raster):
    weights = save_tiny_model(files, name="presence", presence_threshold=0.0)
    counts = {}
    for expression, options in (
        ("all tanks", ()),
        ("the tank", ()),
        ("the tank", ("--targets", "all")),
        ("all tanks", ("--targets", "one")),
    ):
        outputs = ("--mask", "said.tif", "--vector", "said.geojson", "--overwrite")
        result = segment_raster(*outputs, *options, expression=expression, weights=weights)
        assert result.status == 0, result.stderr
        written = polygons(files, "said.geojson")
        about = [feature["properties"] for feature in written["features"]]
        numbers = [one["instance"] for one in about]
        assert numbers == list(range(1, written["num_instances"] + 1))
        area = sum(one["area_px"] for one in about)
        with rasterio.open(files / "said.tif") as mask:
            assert (mask.read(1) == 1).sum() == area
        counts[expression, options] = len(numbers), {one["targets"] for one in about}
    assert counts["the tank", ()] == counts["all tanks", ("--targets", "one")] == (1, {"one"})
    for number, said in (counts["all tanks", ()], counts["the tank", ("--targets", "all")]):
        assert number > 1 and said == {"all"}


def test_words_for_places_in_tiles_are_warned_of(segment_raster):
    arguments = ("--mask", "warned.tif")
    tiles = segment_raster(*arguments, expression="the tank in the upper left")
    assert "will refer to each of 6 tiles" in tiles.stderr
    whole = segment_raster(
        *arguments, "--mode", "whole", "--overwrite", expression="the tank in the upper left"
    )
    assert whole.status == 0 and "warning" not in whole.stderr


MISTAKES = {
    "nothing": ((), "nothing to write"),
    "format": (("--vector", "out.shp"), "vectors are written as .geojson or .gpkg"),
    "mask format": (("--mask", "out.png"), "masks are written as .tif"),
    "scene": (("--mask", "scene.tif"), "scene.tif is an input of this command"),
    "folder": (("--mask", "folder.tif"), "folder.tif is a folder"),
    "place": (("--mask", "model.pth/m.tif"), "model.pth"),
    "bands": (("--mask", "m.tif", "--bands", "1", "2", "9"), "three numbers from 1 to 4"),
    "overlap": (("--mask", "m.tif", "--overlap", "64"), "does not fit tiles of 64"),
    "stretch": (("--mask", "m.tif", "--stretch", "9", "3"), "0 <= low < high <= 100"),
    "whole": (("--mask", "m.tif", "--mode", "whole", "--tile", "20"), "remove --tile"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(files, segment_raster, mistake):
    (files / "folder.tif").mkdir(exist_ok=True)
    before = sorted(files.iterdir())
    arguments, message = MISTAKES[mistake]
    assert message in failure(segment_raster(*arguments))
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value"),
    [("--tile", "0"), ("--gsd", "0"), ("--gsd", "inf"), ("--gsd", "nan"), ("--batch-size", "0")],
)
def test_a_size_of_nothing_is_refused(segment_raster, option, value):
    result = segment_raster("--mask", "m.tif", option, value)
    assert result.status == 2 and f"{option}: {value} is not a number above 0" in result.stderr


def test_tiles_of_a_pixel_or_two_are_refused(segment_raster):
    assert "gives tiles of 3 x 3 pixels" in failure(
        segment_raster("--mask", "m.tif", "--gsd", "0.1")
    )


def test_what_is_there_is_replaced_when_asked_and_a_geopackage_keeps_its_layers(
    files, segment_raster
):
    outputs = ("--mask", "kept/m.tif", "--vector", "kept/project.gpkg")
    (files / "kept").mkdir()
    (files / "kept" / "m.tif.aux.xml").write_text("<PAMDataset/>")
    assert "m.tif.aux.xml is left over" in failure(segment_raster(*outputs))
    (files / "kept" / "m.tif.aux.xml").unlink()
    project = files / "kept" / "project.gpkg"
    write_layer(project, "the user's")
    before = project.read_bytes()
    assert "add --overwrite to replace it; its other layers stay" in failure(
        segment_raster(*outputs)
    )
    assert project.read_bytes() == before
    for _ in range(2):  # the second time our layer is there, too
        (files / "kept" / "m.ovr").write_bytes(b"")
        (files / "kept" / "m.tif.ovr").write_bytes(b"of another raster")
        assert segment_raster(*outputs, "--overwrite").status == 0
        assert not (files / "kept" / "m.tif.ovr").exists()
        assert [name for name, _ in pyogrio.list_layers(project)] == ["the user's", "referred"]
        assert pyogrio.read_info(project, layer="the user's")["features"] == 1
        assert pyogrio.read_info(project, layer="referred")["features"] > 0


def write_layer(path, name):
    pyogrio.raw.write(
        str(path),
        geometry=np.array([shapely.to_wkb(shapely.Point(1, 2))], object),
        field_data=[],
        fields=[],
        layer=name,
        driver="GPKG",
        geometry_type="Point",
        crs="EPSG:4326",
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"not a mask", "is not a file that this command writes"),
        ("a.geojson", b'{"type": "Feature"}', "is not a file that this command writes"),
        ("a.gpkg", b"SQLite format 3\0", "is open in another program"),
    ],
)
def test_a_file_of_another_kind_is_never_replaced(files, segment_raster, name, content, message):
    (files / name).write_bytes(content)
    if name == "a.gpkg":
        (files / "a.gpkg-wal").write_bytes(b"not yet in the file")
    option = "--mask" if name == "a.tif" else "--vector"
    assert message in failure(segment_raster(option, name, "--overwrite"))
    assert (files / name).read_bytes() == content


def failure(result):
    """The one line that a failed run ends with."""
    assert result.status == 1 and "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_missing_checkpoint_and_an_empty_sentence_are_named(segment_raster):
    missing = segment_raster("--mask", "m.tif", weights="gone.pth")
    assert "checkpoint gone.pth is missing" in failure(missing)
    assert "is empty" in failure(segment_raster("--mask", "m.tif", expression="  "))


def test_metres_on_the_ground_choose_the_size_of_tiles(segment_raster):
    # The network sees 64 pixels; at 4 m they cover 128 of the scene's 2 m: 1 x 2 tiles.
    result = segment_raster("--mask", "gsd.tif", "--gsd", "4", expression="the top one")
    assert "refer to each of 2 tiles" in result.stderr
    assert result.status == 0


def start_and_kill(folder, signal_number, arguments, *, after):
    """Start a run, send it a signal once some tiles are there; how many were done at the end."""
    errors = folder / f"{arguments[1]}.errors"
    script, *line = command_line(*arguments)
    process = start(script, *line, folder=folder, output=os.devnull, errors=errors)
    tiles = folder / f"{arguments[1]}.tiles" / "tiles.bin"
    record = 1 + 4 + 64 * 64
    while not tiles.exists() or tiles.stat().st_size < after * record:
        assert process.exitcode is None, "it ended before it could be stopped"
        time.sleep(0.002)
    os.kill(process.pid, signal_number)
    process.join()
    return tiles.stat().st_size // record, errors.read_text()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_gives_the_same_files(files, segment_raster, signal_number):
    tiles = ("--tile", "20", "--overlap", "10")
    name = f"stopped{signal_number}"
    outputs = ("--mask", f"{name}.tif", "--vector", f"{name}.geojson")
    whole = ("--mask", "whole.tif", "--vector", "whole.geojson")
    assert segment_raster(*whole, *tiles, "--overwrite").status == 0
    done, said = start_and_kill(files, signal_number, (*outputs, *tiles), after=5)
    assert 5 <= done < 126  # of 9 x 14 tiles
    assert not (files / f"{name}.tif").exists() and not (files / f"{name}.geojson").exists()
    if signal_number == signal.SIGINT:
        assert "continue with --resume" in said and "interrupted" in said
        assert "Traceback" not in said
    resumed = segment_raster(*outputs, *tiles, "--resume")
    assert resumed.status == 0, resumed.stderr
    assert f"{done}/126" in resumed.stderr  # the progress goes on where it was
    for ending in (".tif", ".geojson"):
        stopped, uninterrupted = files / f"{name}{ending}", files / f"whole{ending}"
        assert stopped.read_bytes() == uninterrupted.read_bytes()


# Full while tiles are stored, when the mask is begun, when it is made Cloud-Optimized, and when
# polygons are written. The scene's 126 tiles take 505 KiB, a mask 2, a GeoPackage 96.
@pytest.mark.parametrize("kilobytes", [64, 512, 516, 520, 564, 628])
def test_a_full_disk_is_one_message_and_nothing_under_a_final_name(
    segment_raster, small_disk, kilobytes
):
    disk = small_disk(kilobytes)
    outputs = ("--mask", str(disk / "m.tif"), "--vector", str(disk / "v.gpkg"))
    tiles = ("--tile", "20", "--overlap", "10", "--batch-size", "16")
    assert "could not be written" in failure(segment_raster(*outputs, *tiles))
    assert [file.name for file in disk.iterdir()] == ["m.tif.tiles"]
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    assert segment_raster(*outputs, *tiles, "--resume").status == 0
    assert sorted(file.name for file in disk.iterdir()) == ["m.tif", "v.gpkg"]
    assert len(pyogrio.raw.read(disk / "v.gpkg")[2]) > 0
