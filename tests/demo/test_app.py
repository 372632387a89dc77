"""The web page, asked as a browser asks it."""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import gradio
import httpx
import numpy as np
import pytest
from conftest import make_tiny_cfg
from detectron2.modeling import build_model
from gradio_client import Client, handle_file
from PIL import Image
from web_page import HEIGHT, WIDTH, load_app, served_page, write_image

from cadformer_d2.inference import ReferredMask, RefSegPredictor


@pytest.fixture(scope="module")
def app():
    return load_app()


@pytest.fixture(scope="module")
def predictor():
    cfg = make_tiny_cfg()
    return RefSegPredictor(cfg=cfg, model=build_model(cfg))


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


def test_nothing_is_written_beside_the_sources(client, image, app):
    ask(client, image, "the pool")
    names = {path.name for path in Path(app.__file__).parent.iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "answers.py", "app.py", "guard.py", "recent_answers.py"}


def test_a_scene_for_the_raster_tool_is_refused(client, image, app, monkeypatch):
    monkeypatch.setattr(sys.modules["cadformer_d2.web.answers"], "LARGEST_SIDE", 80)
    with pytest.raises(Exception, match=r"more than 80 pixels on a side; 'cadformer seg"):
        ask(client, image, "the pool")


@pytest.mark.parametrize("size", [(6000, 1), (1, 5000)])
def test_a_strip_one_pixel_wide_is_answered_in_little_memory(client, tmp_path, size):
    Image.new("1", size).save(tmp_path / "strip.png")
    _, left, *_ = ask(client, tmp_path / "strip.png", "the pool")
    assert Image.open(left).size == size


UNREADABLE = ("\0", "\x01\x02", "\u200b", "\ufffd", "\u0301", "\ud800")


@pytest.mark.parametrize("sentence", UNREADABLE)
def test_an_expression_without_words_is_explained(app, image, predictor, sentence):
    with pytest.raises(gradio.Error, match="is empty|has no word in it"):
        app.answer_query(predictor, str(image), [sentence, ""])


def test_a_long_sentence_is_neither_read_nor_logged(app, image, predictor, caplog):
    with pytest.raises(gradio.Error, match="more than 500 characters"):
        app.answer_query(predictor, str(image), ["the pool " * 100_000, ""])
    assert not caplog.records


def test_the_page_says_which_sentence_is_cut(client, image):
    said, *_ = ask(client, image, "pool " * 90)
    assert "only its first 62 word pieces were read" in said


def test_a_sentence_is_shown_as_text(client, image):
    said, *_ = ask(client, image, "<img src=x> & <b>")
    assert "<b>&lt;img src=x&gt; &amp; &lt;b&gt;</b>" in said


def test_the_page_says_what_is_not_in_the_image(app, predictor):
    nothing = np.zeros((4, 4))
    absent = ReferredMask("the pool", nothing, nothing > 0, presence=0.25)
    line = app.format_answer(predictor, absent)
    assert line == "<b>the pool</b>: not in this image; there with probability 0.25"
    found = ReferredMask("the pool", nothing + 0.75, nothing == 0)
    assert app.format_answer(predictor, found) == "<b>the pool</b>: score 0.75"


@pytest.mark.parametrize("value", [None, "0.5", [], float("nan"), 1.5, True])
def test_a_slider_has_a_number_of_its_range(app, value):
    with pytest.raises(gradio.Error, match="numbers between 0 and 1"):
        app.parse_share(value)


def test_a_full_disk_is_said_on_the_page(app, predictor, image, tmp_path):
    answered = app.answer_query(predictor, str(image), ["the pool"])
    with pytest.raises(gradio.Error, match="cannot be written: No such file or directory"):
        app.write_downloads(answered.answers, 0.5, tmp_path / "gone")


class Raw:
    """Calls of the page as any program can make them."""

    def __init__(self, address, patience=0):
        """patience: seconds until the page is there."""
        self.http = httpx.Client(base_url=address, timeout=60)
        end = time.monotonic() + patience
        while patience and not self.is_there() and time.monotonic() < end:
            time.sleep(0.05)
        uploaded = {"files": ("a.png", b"no image")}
        self.uploaded = self.http.post("gradio_api/upload", files=uploaded).json()[0]

    def is_there(self):
        try:
            return self.http.get("").status_code == 200
        except httpx.ConnectError:
            return False

    def call(self, image):
        body = {"data": [image, "the pool", "", 0.5, 0.5]}
        return self.http.post("gradio_api/call/find", json=body)


@pytest.fixture(scope="module")
def raw(client):
    return Raw(client.src)


def test_an_image_of_the_servers_disk_is_never_opened(raw, image):
    """gradio itself checks only what comes with "meta"."""
    for payload in (
        {"path": str(image)},
        {"path": str(image), "meta": {"_type": "gradio.FileData"}},
        {"path": f"{Path(raw.uploaded).parent}/../../../../../../../../{image}"},
        {"path": "http://127.0.0.1/a.png", "meta": {"_type": "gradio.FileData"}},
        {"value": [{"path": str(image)}]},
    ):
        assert raw.call(payload).status_code == 403
        body = {"data": [payload, "the pool", "", 0.5, 0.5], "session_hash": "a", "fn_index": 0}
        assert raw.http.post("gradio_api/queue/join", json=body).status_code == 403
        assert raw.http.post("gradio_api/run/find", json=body).status_code == 403
    for address in (f"gradio_api/file={image}", "gradio_api/file=http://127.0.0.1/a.png"):
        assert raw.http.get(address).status_code in (403, 404)
    assert raw.call({"path": raw.uploaded}).status_code == 200


def test_the_page_answers_its_own_name_and_no_other_site(raw):
    assert raw.http.get("", headers={"host": "evil.example"}).status_code == 421
    assert raw.http.get("").status_code == 200
    foreign = {"origin": "http://evil.example"}
    files = {"files": ("a.png", b"a")}
    assert raw.http.post("gradio_api/upload", files=files, headers=foreign).status_code == 403


def test_a_session_that_ends_frees_its_answers(app, predictor, image, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # the page sets it; put back afterwards
    page = app.build_page(predictor, [], tmp_path)
    functions = {fn.name: fn.fn for fn in page.fns.values()}
    one, two = (SimpleNamespace(session_hash=name) for name in ("one", "two"))
    for session in (one, two):
        functions["find"](str(image), "the pool", "", 0.5, 0.5, session)
    functions["forget"](one)
    functions["redraw"](True, 0.5, 0.5, two)
    with pytest.raises(gradio.Error, match="no longer kept; press Find it"):
        functions["redraw"](True, 0.5, 0.5, one)


@pytest.mark.parametrize(
    ("number", "end", "status"),
    [(signal.SIGTERM, SystemExit, 143), (signal.SIGINT, KeyboardInterrupt, None)],
)
def test_what_is_temporary_is_removed_when_the_page_is_stopped(
    app, predictor, tmp_path, monkeypatch, number, end, status
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # put back afterwards
    monkeypatch.setattr(app.RefSegPredictor, "from_checkpoint", lambda *_, **__: predictor)
    monkeypatch.setattr(app, "read_trained_config", lambda _: make_tiny_cfg())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    monkeypatch.setattr(sys, "argv", ["app.py", "--weights", "model.pth", "--port", str(port)])
    left = []

    def upload_and_stop():
        try:
            Raw(f"http://127.0.0.1:{port}/", patience=60)
            left.extend(path for path in tmp_path.rglob("*") if path.is_file())
        finally:  # or the test would wait for ever
            # Where nobody would catch it, it would end the tests.
            is_caught = signal.getsignal(number) is not signal.SIG_DFL
            os.kill(os.getpid(), number if is_caught else signal.SIGINT)

    threading.Thread(target=upload_and_stop, daemon=True).start()
    handled = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = [signal.getsignal(known) for known in handled]
    # Python leaves it ignored where a shell has started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(end) as stop:
            app.main()
    finally:
        for known, handler in zip(handled, before, strict=True):
            signal.signal(known, handler)
    assert status is None or stop.value.code == status
    assert left and not list(tmp_path.iterdir())


def test_the_ready_model_has_a_drawn_scene_as_example(app, tmp_path):
    ((path, sentence),) = app._draw_ready_model_examples(tmp_path)
    with Image.open(path) as scene:
        assert scene.size == (480, 480) and sentence
    first, second = app.draw_example_scene(), app.draw_example_scene()
    assert (first == second).all()


def test_scenes_nobody_trained_on_are_drawn_as_examples(app, tmp_path):
    examples = app._draw_examples(tmp_path)
    assert len(examples) == app.NUM_EXAMPLES
    for path, sentence in examples:
        assert cv2.imread(path).shape == (96, 96, 3) and sentence


def test_an_example_that_is_not_there_is_named(app):
    with pytest.raises(Exception, match=r"gone\.png=the pool: expected an image file"):
        app._parse_example("gone.png=the pool")
