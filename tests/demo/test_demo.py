"""The demo command, as a user calls it, with a small untrained network."""

import errno
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from PIL import Image
from refer_files import HEIGHT, WIDTH, ReferFiles

from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.command_errors import run_command
from cadformer_d2.inference import ReferredMask

ROOT = Path(__file__).parent.parent.parent
IMAGE = "images/synthrs/JPEGImages/1.jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and three images."""
    folder = tmp_path_factory.mktemp("demo")
    cfg = make_tiny_cfg()
    torch.manual_seed(0)
    RefSegCheckpointer(build_model(cfg), str(folder), config=cfg).save("model")
    ReferFiles(folder).write()
    return folder


@pytest.fixture
def demo(folder, monkeypatch, capfd):
    """Calls the command in the folder: exit status, what it says, and its error line."""
    monkeypatch.chdir(folder)
    from cadformer_d2.commands.predict import main

    def call(*arguments, sentences=("the pool",)):
        options = ("--opts", "MODEL.WEIGHTS", "model.pth", "MODEL.DEVICE", "cpu")
        command = ["demo.py", *arguments, "--expression", *sentences, *options]
        monkeypatch.setattr(sys, "argv", command)
        status = 0
        try:
            run_command(main)
        except SystemExit as stop:
            status = stop.code
        printed = capfd.readouterr()
        return SimpleNamespace(status=status, said=printed.out + printed.err)

    yield call
    logging.getLogger("cadformer_d2.engine.setup").setLevel(logging.NOTSET)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_sentence_gives_an_overlay_and_a_mask_of_each_image(folder, demo):
    result = demo("--input", "images/synthrs/JPEGImages/[12].jpg", "--output", "one")
    assert result.status == 0, result
    assert "2 x 1 answers" in result.said
    assert names(folder / "one") == ["1_mask.png", "1_overlay.png", "2_mask.png", "2_overlay.png"]
    mask = cv2.imread(str(folder / "one" / "1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH) and set(mask.flatten().tolist()) <= {0, 255}


def test_several_sentences_give_a_sheet(folder, demo):
    sentences = ("the pool", "the tank on the left", "the road", "the pool")
    assert demo("--input", IMAGE, "--output", "several", sentences=sentences).status == 0
    masks = [f"1_mask{number}.png" for number in range(1, 5)]
    assert names(folder / "several") == [*masks, "1_sheet.png"]


def test_a_strip_one_pixel_wide_is_drawn_small(folder, demo):
    Image.new("RGB", (1, 5000)).save(folder / "strip.png")
    assert demo("--input", "strip.png", "--output", "strip", sentences=("a", "b")).status == 0
    sheet = cv2.imread(str(folder / "strip" / "strip_sheet.png"))
    assert max(sheet.shape) <= 2000
    assert demo("--input", "strip.png", "--output", "strip").status == 0
    assert cv2.imread(str(folder / "strip" / "strip_overlay.png")).shape == (5000, 1, 3)


def test_a_sentence_that_is_cut_is_reported_without_a_config_file(demo, caplog):
    assert demo("--input", IMAGE, "--output", "cut", sentences=("pool " * 100,)).status == 0
    assert [r.message for r in caplog.records if "word pieces" in r.message]
    assert not [r.message for r in caplog.records if "the config file has" in r.message]


def test_a_missing_image_is_named(demo):
    said = demo("--input", "gone*.jpg", "--output", "none").status
    assert said == "error: --input gone*.jpg: there is no such file"


def test_an_answer_never_overwrites_that_to_another_image(folder, demo):
    (folder / "1.jpg").write_bytes((folder / IMAGE).read_bytes())
    said = demo("--input", "1.jpg", IMAGE, "--output", "none").status
    assert "would both be answered as 1_mask.png" in said


def test_an_answer_never_replaces_an_input(folder, demo):
    for name in ("a.png", "a_mask.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / name)
    before = (folder / "a_mask.png").read_bytes()
    said = demo("--input", "a*.png", "--output", ".").status
    assert said.startswith(
        "error: a_mask.png is an input, and the answer to a.png would replace it"
    )
    assert (folder / "a_mask.png").read_bytes() == before


def test_an_output_that_cannot_be_written_is_named(folder, demo):
    (folder / "taken" / "1_mask.png").mkdir(parents=True)
    assert (
        "taken/1_mask.png could not be written"
        in demo("--input", IMAGE, "--output", "taken").status
    )


@pytest.mark.parametrize("sentences", [("the pool",), ("the pool", "the tank")])
def test_a_full_disk_leaves_no_file_and_one_line(folder, demo, monkeypatch, sentences):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = demo("--input", IMAGE, "--output", "full", sentences=sentences)
    assert result.status.startswith("error: full/1_mask")
    assert "No space left on device" in result.status
    assert not names(folder / "full")


def test_the_written_mask_is_the_answer_pixel_by_pixel(folder, monkeypatch):
    from cadformer_d2.commands.predict import write_answers

    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3, 5] = mask[10:20, 30:50] = True
    answer = ReferredMask("the pool", mask.astype(np.float32), mask)
    write_answers(np.zeros((HEIGHT, WIDTH, 3), np.uint8), [answer], folder / "exact")
    written = cv2.imread(str(folder / "exact_mask.png"), cv2.IMREAD_UNCHANGED)
    assert (written == mask * 255).all()
