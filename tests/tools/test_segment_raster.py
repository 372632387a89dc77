"""The raster command, as a user calls it, with a small untrained network."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
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


def segment_raster(folder, *arguments, expression="the tank", weights="model.pth"):
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "segment_raster.py")]
    command += ["scene.tif", expression, "--weights", weights, "--device", "cpu", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_sentence_and_a_scene_give_a_mask_and_polygons(files):
    result = segment_raster(files, "--mask", "out/mask.tif", "--vector", "out/tank.geojson")
    assert result.returncode == 0, result.stderr
    with rasterio.open(files / "out" / "mask.tif") as mask:
        assert mask.shape == (100, 150) and mask.crs.to_epsg() == 32632
        assert (mask.read(1) == 1).any()
    features = json.loads((files / "out" / "tank.geojson").read_text())["features"]
    assert f"{len(features)} polygons; written: out/mask.tif, out/tank.geojson" in result.stdout
    assert features[0]["properties"]["sentence"] == "the tank"
    # Nothing of the work is left behind.
    assert sorted(p.name for p in (files / "out").iterdir()) == ["mask.tif", "tank.geojson"]


def test_words_for_places_in_tiles_are_warned_of(files):
    arguments = ("--mask", "warned.tif")
    tiles = segment_raster(files, *arguments, expression="the tank in the upper left")
    assert "will be understood within each of 6 tiles" in tiles.stderr
    whole = segment_raster(
        files, *arguments, "--mode", "whole", expression="the tank in the upper left"
    )
    assert whole.returncode == 0 and "warning" not in whole.stderr


MISTAKES = {
    "nothing": ((), "nothing to write"),
    "format": (("--vector", "out.shp"), "vectors are written as .geojson or .gpkg"),
    "bands": (("--mask", "m.tif", "--bands", "1", "2", "9"), "three numbers from 1 to 4"),
    "overlap": (("--mask", "m.tif", "--overlap", "1.5"), "a share of a tile is in [0, 1)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(files, mistake):
    arguments, message = MISTAKES[mistake]
    result = segment_raster(files, *arguments)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr


def test_a_missing_checkpoint_is_named(files):
    result = segment_raster(files, "--mask", "m.tif", weights="gone.pth")
    assert result.returncode == 1
    assert "checkpoint gone.pth is missing" in result.stderr


def test_a_killed_run_goes_on_and_gives_the_same_files(files):
    tiles = ("--tile", "20", "--overlap", "0.5")
    assert segment_raster(files, "--mask", "whole.tif", *tiles).returncode == 0
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "segment_raster.py")]
    command += ["scene.tif", "the tank", "--weights", "model.pth", "--device", "cpu"]
    command += ["--mask", "killed.tif", *tiles]
    process = subprocess.Popen(command, cwd=files, stderr=subprocess.DEVNULL)
    work = files / "killed.tif.tiles"
    while not work.exists() or len(list(work.glob("*.npy"))) < 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    done = len(list(work.glob("*.npy")))
    assert not (files / "killed.tif").exists()
    resumed = segment_raster(files, "--mask", "killed.tif", *tiles, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert 5 <= done < 126  # of 9 x 14 tiles
    assert (files / "killed.tif").read_bytes() == (files / "whole.tif").read_bytes()
