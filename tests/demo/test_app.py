"""The web page, asked as a browser asks it."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from gradio_client import Client, handle_file

from cadformer_d2.inference import RefSegPredictor

DEMO = Path(__file__).parent.parent.parent / "demo"


@pytest.fixture(scope="module")
def app():
    sys.path.insert(0, str(DEMO))
    import app

    yield app
    sys.path.remove(str(DEMO))


@pytest.fixture(scope="module")
def client(app):
    """A client of the page of a small untrained network."""
    cfg = make_tiny_cfg()
    torch.manual_seed(0)
    page = app.build_page(RefSegPredictor(cfg=cfg, model=build_model(cfg)), examples=[])
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    assert url.startswith("http://127.0.0.1")
    yield Client(url, verbose=False)
    page.close()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(256, size=(60, 90, 3), dtype=np.uint8))
    return path


def ask(client, path, first, second="", threshold=0.5):
    file = None if path is None else handle_file(str(path))
    return client.predict(file, first, second, threshold, 0.5, api_name="/find")


def test_two_sentences_are_shown_side_by_side_with_their_files(client, image):
    said, left, right, files = ask(client, image, "the pool", "the tank on the left")
    assert "the pool" in said and "the tank on the left" in said
    assert Path(left).exists() and right["visible"]
    assert sorted(Path(file).name for file in files) == [
        "mask1.png",
        "mask2.png",
        "polygons1.geojson",
        "polygons2.geojson",
    ]
    masks = {Path(file).name: file for file in files}
    assert cv2.imread(masks["mask1.png"], cv2.IMREAD_GRAYSCALE).shape == (60, 90)
    features = json.loads(Path(masks["polygons1.geojson"]).read_text())["features"]
    assert all(feature["properties"]["sentence"] == "the pool" for feature in features)


def test_the_threshold_decides_what_belongs_to_the_mask(client, image):
    areas = []
    for threshold in (0.05, 0.95):
        *_, files = ask(client, image, "the pool", threshold=threshold)
        (mask,) = [file for file in files if file.endswith("mask1.png")]
        areas.append((cv2.imread(mask, cv2.IMREAD_GRAYSCALE) > 0).sum())
    assert areas[0] > areas[1]


def test_mistakes_get_a_sentence(client, image, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not really")
    for arguments, message in (
        ((None, "the pool"), "There is no image yet"),
        ((image, "  "), "the first sentence is empty"),
        ((broken, "the pool"), "cannot be read as an image"),
    ):
        with pytest.raises(Exception, match=message):
            ask(client, *arguments)


def test_a_scene_for_the_raster_tool_is_refused(client, image, app, monkeypatch):
    monkeypatch.setattr(app, "LARGEST_SIDE", 80)
    with pytest.raises(Exception, match=r"more than 80 pixels on a side; tools/segment_raster\.py"):
        ask(client, image, "the pool")


def test_the_mask_is_tinted_and_the_rest_is_not(app):
    image = np.full((50, 50, 3), 100, np.uint8)
    probability = np.zeros((50, 50), np.float32)
    probability[10:40, 10:40] = 0.8
    drawn = app.overlay(image, probability, threshold=0.5, opacity=0.5)
    assert drawn.shape == (400, 400, 3)  # small images are enlarged
    assert drawn[200, 200, 0] > 150 and (drawn[16, 16] == 100).all()
    assert (app.overlay(image, probability, threshold=0.9, opacity=0.5) == 100).all()
