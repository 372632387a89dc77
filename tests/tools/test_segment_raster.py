"""The raster command, as a user calls it, with a small untrained network."""

import json
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
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from rasterio.transform import Affine

from cadformer_d2.checkpoint import RefSegCheckpointer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a checkpoint and a scene of 16 bits in UTM."""
    folder = tmp_path_factory.mktemp("raster")
    cfg = make_tiny_cfg()
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        model.decoder.classifier.bias[1] += 5  # says yes, so that there is something to map
    RefSegCheckpointer(model, str(folder), config=cfg).save("model")
    values = np.random.default_rng(0).integers(200, 3000, (4, 100, 150), dtype=np.uint16)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": 100, "width": 150}
    profile |= {"crs": "EPSG:32632", "transform": Affine(2, 0, 5e5, 0, -2, 5.3e6)}
    with rasterio.open(folder / "scene.tif", "w", **profile) as scene:
        scene.write(values)
    return folder


def command_line(*arguments, expression="the tank", weights="model.pth"):
    """What a user types, after the interpreter."""
    tool = str(ROOT / "tools" / "segment_raster.py")
    return [tool, "scene.tif", expression, "--weights", weights, "--device", "cpu", *arguments]


@pytest.fixture
def segment_raster(files, monkeypatch, capfd):
    """Calls the command in the folder: exit status, what it says, and what it complains about."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.chdir(files)
    from segment_raster import main

    def call(*arguments, **options):
        monkeypatch.setattr(sys, "argv", command_line(*arguments, **options))
        status, message = 0, ""
        try:
            main()
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


def test_words_for_places_in_tiles_are_warned_of(segment_raster):
    arguments = ("--mask", "warned.tif")
    tiles = segment_raster(*arguments, expression="the tank in the upper left")
    assert "will be understood within each of 6 tiles" in tiles.stderr
    whole = segment_raster(*arguments, "--mode", "whole", expression="the tank in the upper left")
    assert whole.status == 0 and "warning" not in whole.stderr


MISTAKES = {
    "nothing": ((), "nothing to write"),
    "format": (("--vector", "out.shp"), "vectors are written as .geojson or .gpkg"),
    "mask format": (("--mask", "out.png"), "masks are written as .tif"),
    "scene": (("--mask", "scene.tif"), "scene.tif is the scene itself"),
    "folder": (("--mask", "folder.tif"), "folder.tif is a folder"),
    "place": (("--mask", "model.pth/m.tif"), "model.pth"),
    "bands": (("--mask", "m.tif", "--bands", "1", "2", "9"), "three numbers from 1 to 4"),
    "overlap": (("--mask", "m.tif", "--overlap", "64"), "does not fit tiles of 64"),
    "stretch": (("--mask", "m.tif", "--stretch", "9", "3"), "0 <= low < high <= 100"),
    "whole": (("--mask", "m.tif", "--mode", "whole", "--tile", "20"), "do not apply"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(files, segment_raster, mistake):
    (files / "folder.tif").mkdir(exist_ok=True)
    before = sorted(files.iterdir())
    arguments, message = MISTAKES[mistake]
    assert message in failure(segment_raster(*arguments))
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("option", ["--tile", "--gsd", "--batch-size"])
def test_a_size_of_nothing_is_refused(segment_raster, option):
    result = segment_raster("--mask", "m.tif", option, "0")
    assert result.status == 2 and f"{option}: 0 is not above 0" in result.stderr


def failure(result):
    """The one line that a failed run ends with."""
    assert result.status == 1 and "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "segment_raster: " in line]
    return line


def test_a_missing_checkpoint_and_an_empty_sentence_are_named(segment_raster):
    missing = segment_raster("--mask", "m.tif", weights="gone.pth")
    assert "checkpoint gone.pth is missing" in failure(missing)
    assert "is empty" in failure(segment_raster("--mask", "m.tif", expression="  "))


def test_metres_on_the_ground_choose_the_size_of_tiles(segment_raster):
    # The network sees 64 pixels; at 4 m they cover 128 of the scene's 2 m: 1 x 2 tiles.
    result = segment_raster("--mask", "gsd.tif", "--gsd", "4", expression="the top one")
    assert "within each of 2 tiles" in result.stderr
    assert result.status == 0


def start_and_kill(folder, signal_number, arguments, *, after):
    """Start a run, send it a signal once some tiles are there; how many were done at the end."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command_line(*arguments)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A suite in the background of a shell ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    tiles = folder / f"{arguments[1]}.tiles" / "tiles.bin"
    record = 1 + 4 + 64 * 64
    while not tiles.exists() or tiles.stat().st_size < after * record:
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.002)
    process.send_signal(signal_number)
    _, said = process.communicate()
    return tiles.stat().st_size // record, said


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_and_gives_the_same_files(files, segment_raster, signal_number):
    tiles = ("--tile", "20", "--overlap", "10")
    name = f"stopped{signal_number}"
    outputs = ("--mask", f"{name}.tif", "--vector", f"{name}.geojson")
    whole = ("--mask", "whole.tif", "--vector", "whole.geojson")
    assert segment_raster(*whole, *tiles).status == 0
    done, said = start_and_kill(files, signal_number, (*outputs, *tiles), after=5)
    assert 5 <= done < 126  # of 9 x 14 tiles
    assert not (files / f"{name}.tif").exists() and not (files / f"{name}.geojson").exists()
    if signal_number == signal.SIGINT:
        assert "segment_raster: interrupted; go on with --resume" in said
        assert "Traceback" not in said
    resumed = segment_raster(*outputs, *tiles, "--resume")
    assert resumed.status == 0, resumed.stderr
    assert f"{done}/126" in resumed.stderr  # the progress goes on where it was
    for ending in (".tif", ".geojson"):
        stopped, uninterrupted = files / f"{name}{ending}", files / f"whole{ending}"
        assert stopped.read_bytes() == uninterrupted.read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of so many kilobytes."""
    mounted = []

    def mount(kilobytes):
        folder = tmp_path / "disk"
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        result = subprocess.run(["mount", *options], capture_output=True, text=True)
        if result.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


# Full while tiles are stored, when the mask is begun, when it is made Cloud-Optimized, and when
# polygons are written. The scene's 126 tiles take 505 KiB, a mask 2, a GeoPackage 96.
@pytest.mark.parametrize("kilobytes", [64, 512, 516, 520, 564, 628])
def test_a_full_disk_is_one_message_and_nothing_under_a_final_name(
    segment_raster, small_disk, kilobytes
):
    disk = small_disk(kilobytes)
    outputs = ("--mask", str(disk / "m.tif"), "--vector", str(disk / "v.gpkg"))
    tiles = ("--tile", "20", "--overlap", "10")
    assert "could not be written" in failure(segment_raster(*outputs, *tiles))
    assert [file.name for file in disk.iterdir()] == ["m.tif.tiles"]
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    assert segment_raster(*outputs, *tiles, "--resume").status == 0
    assert sorted(file.name for file in disk.iterdir()) == ["m.tif", "v.gpkg"]
    assert len(pyogrio.raw.read(disk / "v.gpkg")[2]) > 0
