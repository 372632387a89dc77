"""The demo command, as a user calls it, with a small untrained network."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from refer_files import HEIGHT, WIDTH, ReferFiles

from cadformer_d2.checkpoint import RefSegCheckpointer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and three images."""
    folder = tmp_path_factory.mktemp("demo")
    cfg = make_tiny_cfg()
    torch.manual_seed(0)
    RefSegCheckpointer(build_model(cfg), str(folder), config=cfg).save("model")
    ReferFiles(folder).write()
    return folder


def demo(folder, *arguments):
    command = [sys.executable, "-W", "ignore", str(ROOT / "demo" / "demo.py"), *arguments]
    command += ["--opts", "MODEL.WEIGHTS", "model.pth", "MODEL.DEVICE", "cpu"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_sentence_gives_an_overlay_and_a_mask_of_each_image(folder):
    images = "images/synthrs/JPEGImages/[12].jpg"
    result = demo(folder, "--input", images, "--expression", "the pool", "--output", "one")
    assert result.returncode == 0, result.stderr
    assert names(folder / "one") == ["1_mask.png", "1_overlay.png", "2_mask.png", "2_overlay.png"]
    mask = cv2.imread(str(folder / "one" / "1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH) and set(mask.flatten().tolist()) <= {0, 255}


def test_several_sentences_give_a_sheet(folder):
    sentences = ("the pool", "the tank on the left", "the road", "the court")
    image = "images/synthrs/JPEGImages/1.jpg"
    result = demo(folder, "--input", image, "--expression", *sentences, "--output", "several")
    assert result.returncode == 0, result.stderr
    masks = [f"1_mask{number}.png" for number in range(1, 5)]
    assert names(folder / "several") == [*masks, "1_sheet.png"]


def fails(folder, *arguments):
    """What a call says that ends in one line."""
    result = demo(folder, *arguments, "--expression", "the pool")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    return result.stderr


def test_a_missing_image_is_named(folder):
    said = fails(folder, "--input", "gone*.jpg", "--output", "none")
    assert "--input gone*.jpg: there is no such file" in said


def test_an_answer_never_overwrites_that_to_another_image(folder):
    image = folder / "images" / "synthrs" / "JPEGImages" / "1.jpg"
    (folder / "1.jpg").write_bytes(image.read_bytes())
    said = fails(folder, "--input", "1.jpg", str(image), "--output", "none")
    assert "would both be answered as 1_mask.png" in said


def test_an_output_that_cannot_be_written_is_named(folder):
    image = "images/synthrs/JPEGImages/1.jpg"
    (folder / "taken" / "1_mask.png").mkdir(parents=True)
    said = fails(folder, "--input", image, "--output", "taken")
    assert "taken/1_mask.png could not be written" in said
