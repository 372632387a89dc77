"""The guard in front of gradio, which here is an echo."""

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

pytest.importorskip("gradio")
from cadformer_d2.web.guard import PageGuard  # noqa: E402

JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
OWN_HOSTS = ("localhost:7860", "127.0.0.1:7860", "LOCALHOST", "[::1]:7860", "localhost:8080")
FOREIGN_HOSTS = (
    *("evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("127.0.0.1@evil.example", "evil.example#localhost", "localhost.", "10.0.0.1", "0.0.0.0"),
    *("127.0.0.1:7860.evil.example", "localhost:x", " ", ""),
)


async def echo(request):
    return Response(await request.body())


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "a.png").touch()
    return folder


@pytest.fixture
def client(uploads):
    routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
    page = PageGuard(Starlette(routes=routes), uploads=uploads, upload_limit=1000)
    return TestClient(page, base_url="http://localhost:7860")


def join(client, *data, **options):
    return client.post(JOIN, content=json.dumps({"data": data}), **options)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_its_own_names_are_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_other_names_are_not_answered(client, host):
    for path in ("/", "/config", f"{UPLOAD}_progress"):
        assert client.get(path, headers={"host": host}).status_code == 421
    assert join(client, headers={"host": host}).status_code == 421


def test_two_host_headers_are_not_answered(client):
    headers = [("host", "localhost:7860"), ("host", "evil.example")]
    assert client.get("/", headers=headers).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8888"},
        {"origin": "http://localhost:7860.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-dest": "document"},
        {"origin": "http://localhost:7860", "sec-fetch-site": "cross-site"},
    ],
)
def test_requests_of_other_sites_are_not_answered(client, headers):
    assert join(client, headers=headers).status_code == 403
    assert client.post(UPLOAD, content=b"a", headers=headers).status_code == 403


def test_the_page_may_be_linked_to_but_not_embedded(client):
    def status(destination):
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-dest": destination}
        return client.get("/", headers=headers).status_code

    assert status("document") == 200
    assert {status(kind) for kind in ("iframe", "image", "script", "empty")} == {403}


def test_the_pages_own_requests_are_answered(client):
    headers = {"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}
    assert join(client, 1, headers=headers).json() == {"data": [1]}
    tunnel = {"host": "localhost:8080", "origin": "http://localhost:8080"}
    assert client.post(UPLOAD, content=b"a", headers=tunnel).content == b"a"


def test_only_uploads_may_be_named_however_deep(client, uploads):
    upload = str(uploads / "a.png")
    assert join(client, {"path": upload}).json()["data"] == [{"path": upload}]
    secret = uploads.parent / "secret.png"
    secret.touch()
    (uploads / "link.png").symlink_to(secret)
    foreign = (
        *(str(secret), f"{uploads}/../secret.png", f"{uploads}-of-others/a.png", "secret.png"),
        *(f"{uploads}/link.png", f"file://{secret}", "http://localhost/a.png", "/", "", "\0"),
        *("a" * 5000, None, 5, [upload], {"path": upload}),
    )
    for path in foreign:
        file = {"path": path, "url": upload, "meta": {"_type": "gradio.FileData"}}
        for payload in (file, [[file]], {"value": {"image": file}}):
            assert join(client, payload).status_code == 403, payload


def test_what_is_checked_is_what_is_passed_on(client, uploads):
    """Of a key that comes twice, readers differ in which they take."""
    upload, secret = json.dumps(str(uploads / "a.png")), json.dumps(str(uploads.parent / "b.png"))
    twice = f'{{"path": {secret}, "path": {upload}}}'
    answer = client.post(JOIN, content=twice)
    assert answer.status_code == 200 and answer.text == json.dumps({"path": json.loads(upload)})
    assert client.post(JOIN, content=twice.encode("utf-16")).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"a=b", b"[" * 5000 + b"]" * 5000, b"[" * 50])
def test_what_is_no_call_is_refused(client, body):
    assert client.post(JOIN, content=body).status_code == 400


def test_lists_nested_deeper_than_any_call_are_refused(client):
    assert client.post(JOIN, content=b"[" * 30 + b"]" * 30).status_code == 400


def test_large_bodies_are_refused_before_they_are_read(client):
    assert client.post(UPLOAD, content=b"a" * 1000).status_code == 200
    assert client.post(UPLOAD, content=b"a" * 1001).status_code == 413
    assert client.post(JOIN, content=json.dumps("a" * 900_000)).status_code == 200
    assert client.post(JOIN, content=json.dumps("a" * 2_000_000)).status_code == 413
    assert client.post(UPLOAD, content=iter([b"a"] * 5)).status_code == 411


def test_nothing_is_fetched_from_other_machines(client):
    for path in ("/gradio_api/file=http://evil.example/a", "/gradio_api/proxy=https%3A//a.b/c"):
        assert client.get(path).status_code == 404
