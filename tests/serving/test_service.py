"""The service answers what its predictor answers, and refuses the rest with a reason."""

import base64
import io
import threading
import time

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
pytest.importorskip("multipart", reason="the extra serve is not installed")
from fastapi.testclient import TestClient  # noqa: E402

from cadformer_d2.commands.serve import read_token, refuse_open_service  # noqa: E402
from cadformer_d2.data.plain_tokenizer import PlainTokenizer  # noqa: E402
from cadformer_d2.data.tokenization import load_tokenizer  # noqa: E402
from cadformer_d2.inference import MaskPredictor  # noqa: E402
from cadformer_d2.serving.app import create_app  # noqa: E402
from cadformer_d2.serving.batching import BatchRunner, QueueFullError  # noqa: E402
from cadformer_d2.serving.limits import Limits  # noqa: E402

HERE, TOKEN = "http://127.0.0.1:8000", "0123456789abcdef"
EXPRESSION = "the pool"


class RedPredictor(MaskPredictor):
    """Takes red pixels for the target, and can be held up."""

    def __init__(self, *, batch_size=4):
        tokenizer = PlainTokenizer(backend=load_tokenizer("synthrs"), max_tokens=12)
        super().__init__(
            input_size=(8, 8), image_format="RGB", tokenizer=tokenizer, batch_size=batch_size
        )
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.batches = []

    def resize(self, pixels):
        return pixels

    def read_expression(self, expression):
        return {"expression": expression, "ids": self.tokenizer.token_ids(expression)}

    def predict_batch(self, batch):
        self.batches.append([sample["expression"] for sample in batch])
        assert self.may_go_on.wait(20)
        if any("fail" in sample["expression"] for sample in batch):
            raise MemoryError("a failure of the model")
        for sample in batch:
            red = sample["image"][..., 0].astype(np.float32) / 255
            yield np.stack([1 - red, red]), 0.75

    says_presence = True
    object_names = ()


@pytest.fixture
def predictor():
    return RedPredictor()


def client_of(predictor, *, base_url=HERE, token="", **limits):
    app = create_app(predictor, model="red.onnx", limits=Limits(**limits), token=token)
    return TestClient(app, base_url=base_url)


@pytest.fixture
def client(predictor):
    with client_of(predictor) as client:
        yield client


def png(height=6, width=10):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :4, 2] = 255  # OpenCV writes BGR
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def ask(client, *expressions, content=None, path="/predict", **options):
    files = {"image": ("a.png", png() if content is None else content)}
    data = {"expression": list(expressions or [EXPRESSION])}
    return client.post(path, files=files, data=data, **options)


def test_an_answer_has_score_polygons_and_the_mask_where_wanted(client):
    found = ask(client, EXPRESSION, "the left pool", params={"masks": "true"}).json()
    assert (found["height"], found["width"]) == (6, 10)
    assert [answer["expression"] for answer in found["answers"]] == [EXPRESSION, "the left pool"]
    answer = found["answers"][0]
    assert (
        answer["score"] == 1
        and answer["presence"] == 0.75
        and answer["share"] == pytest.approx(0.4)
    )
    (feature,) = answer["geojson"]["features"]
    ring = {tuple(point) for point in feature["geometry"]["coordinates"][0]}
    assert ring == {(0, 0), (0, 6), (4, 6), (4, 0)}
    mask = np.array(Image.open(io.BytesIO(base64.b64decode(answer["mask_png"]))))
    assert (mask == np.where(np.arange(10) < 4, 255, 0)).all()
    assert "mask_png" not in ask(client).json()["answers"][0]


def test_one_mask_comes_as_a_png(client):
    answer = ask(client, path="/mask")
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-score"] == "1.0000"
    assert np.array(Image.open(io.BytesIO(answer.content))).shape == (6, 10)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content": jpeg()[:-400]}, "cannot be read"),
        ({"content": b"no image"}, "no format that is known"),
        ({"content": png(2, 9000)}, "9000 x 2 pixels"),
        ({"expressions": [" "]}, "is empty"),
        ({"expressions": ["pool " * 200]}, "more than 500 characters"),
        ({"expressions": ["pool"] * 17}, "17 expressions"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(client, changes, reason):
    answer = ask(client, *changes.get("expressions", ()), content=changes.get("content"))
    assert answer.status_code == 400 and reason in answer.json()["detail"]


def test_a_request_without_image_says_what_is_missing(client):
    answer = client.post("/predict", data={"expression": EXPRESSION})
    assert answer.status_code == 422 and "image" in answer.text


def test_a_request_that_is_too_large_is_refused_before_it_is_read(predictor):
    with client_of(predictor, request_bytes=1000) as client:
        answer = ask(client, content=bytes(2000))
    assert answer.status_code == 413 and "1000 bytes" in answer.json()["detail"]


def test_other_sites_are_refused_and_other_machines_need_the_token(predictor):
    with client_of(predictor) as client:
        assert client.get("/health", headers={"host": "evil.example"}).status_code == 421
        assert ask(client, headers={"origin": "http://evil.example"}).status_code == 403
    with client_of(predictor, base_url="http://maps.example", token=TOKEN) as client:
        assert ask(client).status_code == 401
        assert ask(client, headers={"authorization": f"Bearer {TOKEN[:-1]}x"}).status_code == 401
        assert ask(client, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/health").status_code == 200  # a load balancer has no token
        assert client.get("/metrics").status_code == 401


def test_a_model_that_fails_answers_others_afterwards(predictor):
    with client_of(predictor) as client:
        with pytest.raises(MemoryError):  # the test client shows it; a server logs it, status 500
            ask(client, "fail")
        assert ask(client).status_code == 200


def test_a_slow_answer_is_given_up_with_a_reason(predictor):
    predictor.may_go_on.clear()
    with client_of(predictor, answer_seconds=0.2) as client:
        answer = ask(client)
        predictor.may_go_on.set()
    assert answer.status_code == 504 and "0.2 s" in answer.json()["detail"]


def sample(predictor, expression):
    image = np.zeros((2, 2, 3), np.uint8)
    return {**predictor.prepare_image(image), **predictor.prepare_expression(expression)}


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_questions_that_wait_are_answered_together_and_no_more_are_taken(predictor):
    runner = BatchRunner(predictor, capacity=5)
    words = ["pool", "left", "right", "the", "court", "tank"]
    samples = [sample(predictor, word) for word in words]
    with runner.running():
        predictor.may_go_on.clear()
        first = runner.submit(samples[:1])
        wait_until(lambda: predictor.batches)  # the model holds it
        rest = runner.submit(samples[1:])
        with pytest.raises(QueueFullError):
            runner.submit(samples[:1])
        rest[0].cancel()
        predictor.may_go_on.set()
        found = [future.result(20).expression for future in (*first, *rest[1:])]
    assert found == ["pool", "right", "the", "court", "tank"]
    assert predictor.batches == [["pool"], ["right", "the", "court"], ["tank"]]


def test_a_full_queue_is_a_refusal_that_says_when_to_come_back(predictor):
    with client_of(predictor, waiting=1) as client:
        answer = ask(client, "pool", "left")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_metrics_count_answers_and_refusals(predictor):
    with client_of(predictor) as client:
        ask(client)
        ask(client, content=b"no image")
        client.get("/never/there")
        client.get("/health", headers={"host": "evil.example"})
        text = client.get("/metrics").text
    for line in (
        'cadformer_requests_total{path="/predict",status="200"} 1.0',
        'cadformer_requests_total{path="/predict",status="400"} 1.0',
        'cadformer_requests_total{path="/health",status="421"} 1.0',
        'cadformer_requests_total{path="other",status="404"} 1.0',
        "cadformer_batch_size_count 1.0",
        "cadformer_waiting 0.0",
    ):
        assert line in text
    assert "process_resident_memory_bytes" in text


def test_the_pages_about_it_name_every_operation_and_no_other_site(client):
    page, schema = client.get("/docs").text, client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/predict", "/mask", "/health", "/metrics"}
    assert all(path in page for path in schema["paths"])
    assert "http" not in page.replace(HERE, "")
    assert client.get("/health").json() == {"status": "ok", "model": "red.onnx", "waiting": 0}


def test_other_addresses_need_a_token(tmp_path, monkeypatch):
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        refuse_open_service(host, "")
    for host in ("0.0.0.0", "::", "192.168.0.5", "maps.example"):
        refuse_open_service(host, TOKEN)
        with pytest.raises(ValueError, match="CADFORMER_TOKEN"):
            refuse_open_service(host, "")
    monkeypatch.delenv("CADFORMER_TOKEN", raising=False)
    assert read_token(None) == ""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
    file.write_text("short")
    with pytest.raises(ValueError, match="at least 16"):
        read_token(file)
