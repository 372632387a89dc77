"""Commands that take a checkpoint take a folder in Hugging Face's layout."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from PIL import Image

from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.command_errors import run_command
from cadformer_d2.commands import export, predict, runs
from cadformer_d2.engine.setup import load_config, merge_checkpoint_config
from cadformer_d2.inference import RefSegPredictor
from cadformer_d2.inference import predictor as predictor_module
from cadformer_d2.pretrained_folder import weights_hash


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A checkpoint and an image."""
    folder = tmp_path_factory.mktemp("work")
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN = ("quarry_train",)
    torch.manual_seed(0)
    RefSegCheckpointer(build_model(cfg), str(folder), config=cfg).save("model")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


@pytest.fixture
def call(work, monkeypatch, capfd):
    """Run a command in the folder: its exit status and what it said."""
    monkeypatch.chdir(work)

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", ["cadformer", *map(str, arguments)])
        status = 0
        try:
            run_command(module.main)
        except SystemExit as stop:
            status = stop.code
        printed = capfd.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def folder(work):
    folder = work / "exported"
    RefSegPredictor.from_checkpoint(work / "model.pth", device="cpu").save_pretrained(folder)
    return folder


def test_export_writes_a_card_with_the_numbers_it_was_given(call, work):
    metrics = {"dataset": "quarry_test", "mIoU": 12.34, "num_samples": 7.0}
    (work / "metrics.json").write_text(json.dumps(metrics))
    (work / "notes.md").write_text("<!-- for editors -->\n## Limits\n\nQuarries only.\n")
    arguments = ("--metrics", "metrics.json", "--notes", "notes.md", "--licence", "mit")
    status, said = call(export, "model.pth", "with_card", *arguments)
    assert status == 0, said
    card = (work / "with_card" / "README.md").read_text()
    assert "| quarry_test | 12.3 | - | - | - | - | 7 |" in card
    assert "license: mit" in card and "Quarries only." in card and "quarry_train" in card
    assert "editors" not in card and "To be" not in card


def test_a_card_without_numbers_says_so(folder):
    card = (folder / "README.md").read_text()
    assert "(To be measured" in card and "(To be written" in card
    assert "mIoU" not in card


@pytest.mark.parametrize("content", ["[1]", "{}", "no JSON"])
def test_what_is_no_metrics_file_is_refused(call, work, content):
    (work / "other.json").write_text(content)
    status, _ = call(export, "model.pth", "never", "--metrics", "other.json")
    assert "other.json is no metrics_*.json" in status and not (work / "never").exists()


def test_predict_takes_an_image_an_expression_and_a_folder(call, work, folder):
    status, said = call(predict, "photo.png", "the pool", "--weights", folder, "--output", "one")
    assert status == 0 and "the pool: " in said
    assert (work / "one" / "photo_overlay.png").is_file()
    options = ("--opts", "MODEL.WEIGHTS", folder, "MODEL.DEVICE", "cpu")
    asked = ("--input", "photo.png", "--expression", "the pool", "--output", "two")
    assert call(predict, *asked, *options)[0] == 0
    masks = [(work / name / "photo_mask.png").read_bytes() for name in ("one", "two")]
    assert masks[0] == masks[1]


def test_predict_asks_the_ready_model_where_no_weights_are_named(call, folder, monkeypatch):
    for module in (predictor_module, predict):
        monkeypatch.setattr(module, "find_ready_model", lambda: folder)
    assert call(predict, "photo.png", "the pool", "the tank", "--output", "ready")[0] == 0
    assert call(predict, "photo.png", "a tank", "--opts", "MODEL.DEVICE", "cpu")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("photo.png",), "an image and an expression are needed"),
        (("photo.png", "the pool", "--input", "photo.png"), "not both"),
        (("photo.png", "the pool", "--expression", "the pool"), "not both"),
        (("photo.png", "the pool", "--device", "cpu", "--opts", "TEST.DTYPE", "float32"), "pairs"),
    ],
)
def test_predict_refuses_what_it_would_have_to_guess(call, arguments, wanted):
    status, said = call(predict, *arguments)
    assert status == 2 and wanted in said


def test_evaluation_builds_the_network_of_a_folder(folder):
    overrides = ["MODEL.WEIGHTS", str(folder), "MODEL.DEVICE", "cpu"]
    cfg = merge_checkpoint_config(load_config("", overrides), overrides=overrides)
    assert cfg.MODEL.SWIN.WINDOW_SIZE == 4
    RefSegCheckpointer(build_model(cfg)).load(cfg.MODEL.WEIGHTS)


def test_a_folder_whose_weights_changed_is_scored_again(folder, work, tmp_path):
    of_folder = runs._file_identity(folder)
    assert of_folder["file"].endswith("model.safetensors")
    assert len({weights_hash(folder), weights_hash(work / "model.pth")}) == 2
