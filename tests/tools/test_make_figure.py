"""The figure command, as a user calls it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from refer_files import ReferFiles, rle, square

from cadformer_d2.checkpoint import RefSegCheckpointer
from cadformer_d2.command_errors import run_command

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Predictions of two models about three images: ours is right, lavt never."""
    folder = tmp_path_factory.mktemp("figure")
    files = ReferFiles(folder).write()
    for name, left, iou in (("ours", 5, 0.9), ("lavt", 30, 0.1)):
        samples = [
            {
                "ref_id": image_id,
                "sent_id": 7,
                "image_id": image_id,
                "iou": iou - 0.01 * image_id,
                "file_name": str(files.images / f"{image_id}.jpg"),
                "expression": f"the pool of image {image_id}",
                "target": rle(square(5, 5)),
                "prediction": rle(square(5, left)),
            }
            for image_id in (1, 2, 3)
        ]
        (folder / f"{name}.json").write_text(json.dumps({"samples": samples}))
    cfg = make_tiny_cfg()
    cfg.DATASETS.TEST = ("synthrs_test",)
    torch.manual_seed(0)
    RefSegCheckpointer(build_model(cfg), str(folder), config=cfg).save("model")
    return folder


@pytest.fixture
def make_figure(folder, monkeypatch, capfd):
    """Calls the command in the folder: exit status and all that it says."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    from cadformer_d2.commands.make_figure import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["make_figure.py", *arguments])
        status, message = 0, ""
        try:
            run_command(main)
        except SystemExit as stop:
            status, message = 1, str(stop.code)
        printed = capfd.readouterr()
        return SimpleNamespace(status=status, said=printed.out + printed.err + message)

    return call


def test_one_model_as_a_picture(folder, make_figure):
    result = make_figure("ours.json", "--order", "worst", "--number", "2", "--output", "a.png")
    assert result.status == 0, result.said
    assert "2 samples drawn: a.png" in result.said
    assert cv2.imread(str(folder / "a.png")).std() > 10


def test_a_path_and_a_title_may_have_an_equals_sign(folder, make_figure):
    (folder / "lr=1").mkdir()
    (folder / "lr=1" / "ours.json").write_bytes((folder / "ours.json").read_bytes())
    for file in ("lr=1/ours.json", "title=lr=1/ours.json", "lr=1, IoU=0.5=ours.json"):
        assert make_figure(file, "--output", "e.png").status == 0
    from cadformer_d2.commands.make_figure import split_title

    assert split_title("lr=1, IoU=0.5=ours.json") == ("lr=1, IoU=0.5", Path("ours.json"))
    assert split_title("title=lr=1/ours.json") == ("title", Path("lr=1/ours.json"))
    assert split_title("a=gone.json") == ("a", Path("gone.json"))
    assert split_title("=gone.json") == ("prediction", Path("=gone.json"))


def test_several_models_as_a_pdf(folder, make_figure):
    arguments = ("ours=ours.json", "lavt=lavt.json", "--order", "disputed", "--output", "b.pdf")
    result = make_figure(*arguments)
    assert result.status == 0, result.said
    assert (folder / "b.pdf").read_bytes().startswith(b"%PDF")


MISTAKES = {
    "a missing file": (("gone.json",), "gone.json is missing"),
    "one title twice": (("ours.json", "lavt.json"), "each of several files needs its own title"),
    "an unknown sample": (("ours.json", "--samples", "9:9"), "9:9 is not in the predictions"),
    "no predictions": (("images/synthrs/JPEGImages/1.jpg",), "1.jpg is not a predictions file"),
    "an unknown dataset": (
        ("model.pth", "--dataset", "pools_test"),
        "unknown dataset 'pools_test'",
    ),
    "one model": (("ours.json", "--order", "disputed"), "needs two files or more"),
    "no pair": (("ours.json", "--samples", "9"), "expected REF:SENTENCE"),
    "powers": (("ours.json", "--samples", "²:1"), "expected REF:SENTENCE"),
    "half a character": (("\udc80=ours.json",), "has a character that cannot be drawn"),
    "no columns": (("ours.json", "--columns", "0"), "0: expected a whole number above 0"),
    "half a picture": (("ours.json", "--dpi", "0.5"), "0.5: expected a whole number above 0"),
    "no samples": (("ours.json", "--number", "-1"), "-1: expected a whole number above 0"),
    "a title that is a folder": (("../a=model.pth",), "../a=model.pth: the title names a folder"),
}


def test_a_picture_of_no_known_kind_is_refused(make_figure):
    result = make_figure("ours.json", "--output", "sheet")
    assert result.status == 1 and "expected a name that ends in .png or .pdf" in result.said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(folder, make_figure, mistake):
    arguments, message = MISTAKES[mistake]
    result = make_figure(*arguments, "--output", "c.png")
    assert result.status == 1
    assert message in result.said and not (folder / "c.png").exists()


DAMAGE = {
    "samples": [5],
    "iou": float("nan"),
    "ref_id": "one",
    "expression": None,
    "target": {"size": [40, 60]},
    "prediction": {"size": [40], "counts": "0"},
}


@pytest.mark.parametrize("key", DAMAGE)
def test_a_damaged_predictions_file_is_refused_at_the_place(folder, make_figure, key):
    content = json.loads((folder / "ours.json").read_text())
    (content if key == "samples" else content["samples"][1])[key] = DAMAGE[key]
    (folder / "damaged.json").write_text(json.dumps(content))
    result = make_figure("damaged.json", "--output", "c.png")
    assert result.status == 1 and "Traceback" not in result.said
    place = "samples.0" if key == "samples" else f"samples.1.{key}"
    assert f"error: damaged.json is not a predictions file of an evaluation: {place}" in result.said


def test_a_mask_whose_runs_pass_the_image_is_refused(folder, make_figure):
    content = json.loads((folder / "ours.json").read_text())
    for sample in content["samples"]:
        sample["target"]["size"] = [4, 6]
    (folder / "runs.json").write_text(json.dumps(content))
    result = make_figure("runs.json", "--output", "c.png")
    assert result.status == 1 and "do not add up to 4 x 6 pixels" in result.said


def test_the_figure_never_replaces_an_image_of_the_dataset(folder, make_figure):
    image = folder / "own.png"
    cv2.imwrite(str(image), cv2.imread(str(folder / "images/synthrs/JPEGImages/1.jpg")))
    content = json.loads((folder / "ours.json").read_text())
    content["samples"][0]["file_name"] = str(image)
    (folder / "own.json").write_text(json.dumps(content))
    before = image.read_bytes()
    result = make_figure("own.json", "--output", "own.png")
    assert result.status == 1 and "--output own.png is an image of the dataset" in result.said
    assert image.read_bytes() == before


def test_a_checkpoint_is_evaluated_first_and_once(folder, make_figure, monkeypatch):
    from cadformer_d2.commands import runs

    asked = []

    def evaluate(*command):
        """What train_net.py --eval-only leaves."""
        asked.append(command)
        results = Path(command[command.index("OUTPUT_DIR") + 1])
        (results / "metrics_synthrs_test.json").write_text("{}")
        samples = (folder / "ours.json").read_bytes()
        (results / "predictions_synthrs_test.json").write_bytes(samples)

    monkeypatch.setattr(runs, "call", evaluate)
    assert make_figure("model.pth", "--output", "d.png", "--number", "2").status == 0
    assert make_figure("model.pth", "--output", "d.png", "--order", "best").status == 0
    (command,) = asked
    assert command[0] == "train" and "--eval-only" in command
    assert command[command.index("MODEL.WEIGHTS") + 1] == "model.pth"


def test_the_order_decides_which_samples_are_drawn(folder, monkeypatch):
    from cadformer_d2.commands.make_figure import choose_samples, read_predictions

    ours = read_predictions(folder / "ours.json")
    assert choose_samples([ours], "best", number=1, rng=None) == [(1, 7)]
    assert choose_samples([ours], "worst", number=2, rng=None) == [(3, 7), (2, 7)]
