"""The web page, asked as a browser asks it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from web_page import DEMO, HEIGHT, WIDTH, load_app, served_page, write_image


@pytest.fixture(scope="module")
def app():
    return load_app()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with served_page(tmp_path_factory.mktemp("page")) as address:
        assert address.startswith("http://127.0.0.1")
        yield Client(address, verbose=False)


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "scene.png")


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
    assert cv2.imread(masks["mask1.png"], cv2.IMREAD_GRAYSCALE).shape == (HEIGHT, WIDTH)
    features = json.loads(Path(masks["polygons1.geojson"]).read_text())["features"]
    assert all(feature["properties"]["sentence"] == "the pool" for feature in features)


def test_the_threshold_decides_what_belongs_to_the_mask(client, image):
    areas = []
    for threshold in (0.05, 0.95):
        *_, files = ask(client, image, "the pool", threshold=threshold)
        (mask,) = [file for file in files if file.endswith("mask1.png")]
        areas.append((cv2.imread(mask, cv2.IMREAD_GRAYSCALE) > 0).sum())
    assert areas[0] > areas[1]


def truncated_jpeg(path):
    noise = np.random.default_rng(0).integers(256, size=(200, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:5000])


def image_bomb(path):
    """Twenty kilobytes that claim to be 400 megapixels."""
    Image.new("1", (20_000, 20_000)).save(path)


BROKEN = {
    "noise.jpg": lambda path: path.write_bytes(b"\xff\xd8\xff not really"),
    "text.png": lambda path: path.write_text("no image at all"),
    "empty.png": lambda path: path.touch(),
    "truncated.jpg": truncated_jpeg,
    "bomb.png": image_bomb,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_gets_a_sentence(client, tmp_path, name):
    BROKEN[name](tmp_path / name)
    with pytest.raises(Exception, match="This file cannot be read as an image"):
        ask(client, tmp_path / name, "the pool")


def test_what_is_missing_is_asked_for(client, image):
    with pytest.raises(Exception, match="There is no image yet"):
        ask(client, None, "the pool")
    with pytest.raises(Exception, match="the first sentence is empty"):
        ask(client, image, "  ")


def test_nothing_is_written_beside_the_sources(client, image):
    ask(client, image, "the pool")
    names = {path.name for path in DEMO.iterdir()} - {"__pycache__"}
    assert names == {"app.py", "demo.py"}


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


def test_scenes_nobody_trained_on_are_drawn_as_examples(app, tmp_path):
    examples = app.drawn_examples(tmp_path)
    assert len(examples) == app.NUM_EXAMPLES
    for path, sentence in examples:
        assert cv2.imread(path).shape == (96, 96, 3) and sentence


def test_an_example_that_is_not_there_is_named(app):
    with pytest.raises(Exception, match=r"gone\.png=the pool: expected an image file"):
        app.example("gone.png=the pool")
