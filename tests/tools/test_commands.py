"""The dataset commands, as a user calls them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from refer_files import ReferFiles

ROOT = Path(__file__).parent.parent.parent
BUS_LOT = ROOT.parent / "shared" / "real" / "bus_lot"


def call(tool, *arguments, root):
    environment = {**os.environ, "DETECTRON2_DATASETS": str(root)}
    command = [sys.executable, "-W", "ignore", f"tools/{tool}.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_sound_dataset_passes(tmp_path):
    ReferFiles(tmp_path).write()
    result = call("check_dataset", "synthrs", "--tokenizer", "synthrs", root=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "synthrs: no defects" in result.stdout


def test_defects_are_named_and_fail_the_check(tmp_path):
    files = ReferFiles(tmp_path)
    files.instances["annotations"].pop(0)
    files.write()
    with (files.images / "2.jpg").open("r+b") as image:
        image.truncate(300)
    result = call("check_dataset", "synthrs", "--tokenizer", "synthrs", root=tmp_path)
    assert result.returncode == 1
    assert "ref 1 points to annotation 1" in result.stdout
    assert "2.jpg cannot be read as an image" in result.stdout


def test_published_counts_are_compared_unless_it_is_a_subset(tmp_path):
    ReferFiles(tmp_path, name="rrsishr").write()
    arguments = ("rrsishr", "--tokenizer", "synthrs")
    result = call("check_dataset", *arguments, root=tmp_path)
    assert result.returncode == 1
    assert "train: 3 usable refs, published are 2118" in result.stdout
    assert call("check_dataset", *arguments, "--subset", root=tmp_path).returncode == 0


@pytest.mark.skipif(not BUS_LOT.is_dir(), reason=f"{BUS_LOT.name}, a real sample, is not here")
def test_a_real_sample_passes():
    arguments = ("rrsisd", "--subset", "--tokenizer", "synthrs")
    result = call("check_dataset", *arguments, root=BUS_LOT)
    assert result.returncode == 0, result.stdout


def test_the_models_input_can_be_looked_at(tmp_path):
    ReferFiles(tmp_path).write()
    picture = tmp_path / "data.png"
    config = ("--config-file", "configs/quickstart.yaml", "--number", "2")
    result = call("visualize_data", *config, "--output", str(picture), root=tmp_path)
    assert result.returncode == 0, result.stderr
    assert picture.stat().st_size > 10_000


def test_data_that_are_not_there_are_one_clear_line(tmp_path):
    config = ("--config-file", "configs/quickstart.yaml")
    result = call("visualize_data", *config, "--output", str(tmp_path / "a.png"), root=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("visualize_data: ") and "is missing" in result.stderr


def test_a_configs_model_is_described_without_any_weights(tmp_path):
    config = ("--config-file", "configs/quickstart.yaml", "--num-tokens", "8")
    result = call("analyze_model", *config, root=tmp_path)
    assert result.returncode == 0, result.stderr
    for row in ("text_encoder", "backbone", "alignment", "decoder", "total"):
        assert row in result.stdout
    assert "parameters without a gradient: none" in result.stdout
