"""The figure command, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from refer_files import ReferFiles, rle, square

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
    return folder


def make_figure(folder, *arguments):
    command = [sys.executable, "-W", "ignore", str(ROOT / "tools" / "make_figure.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_one_model_as_a_picture(folder):
    result = make_figure(
        folder, "ours.json", "--order", "worst", "--number", "2", "--output", "a.png"
    )
    assert result.returncode == 0, result.stderr
    assert "2 samples drawn: a.png" in result.stdout
    assert cv2.imread(str(folder / "a.png")).std() > 10


def test_several_models_as_a_pdf(folder):
    arguments = ("ours=ours.json", "lavt=lavt.json", "--order", "disputed", "--output", "b.pdf")
    result = make_figure(folder, *arguments)
    assert result.returncode == 0, result.stderr
    assert (folder / "b.pdf").read_bytes().startswith(b"%PDF")


MISTAKES = {
    "a missing file": (("gone.json",), "gone.json is missing"),
    "one title twice": (("ours.json", "lavt.json"), "several files need different titles"),
    "an unknown sample": (("ours.json", "--samples", "9:9"), "9:9 is not in the predictions"),
    "no pair": (("ours.json", "--samples", "9"), "expected REF:SENTENCE"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(folder, mistake):
    arguments, message = MISTAKES[mistake]
    result = make_figure(folder, *arguments, "--output", "c.png")
    assert result.returncode == 1
    assert message in result.stderr and not (folder / "c.png").exists()


def test_the_order_decides_which_samples_are_drawn(folder):
    sys.path.insert(0, str(ROOT / "tools"))
    from make_figure import choose, read_predictions

    sys.path.remove(str(ROOT / "tools"))
    _, ours = read_predictions(str(folder / "ours.json"))
    assert choose([ours], "best", number=1, rng=None) == [(1, 7)]
    assert choose([ours], "worst", number=2, rng=None) == [(3, 7), (2, 7)]
