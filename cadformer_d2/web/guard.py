"""Checks of requests before an application sees them: gradio's, or the service's.

The page listens on this machine only, but any other site in the user's browser can make the browser
send requests here, or point its own name here (DNS rebinding) and read the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Any port: a tunnel from another machine has another one.
OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
UPLOAD_PATH = "/gradio_api/upload"
MEGABYTE = 2**20
CALL_LIMIT = MEGABYTE  # bytes of a request that is no upload: sentences and numbers
NESTED_LIMIT = 20  # depth of lists and objects


class RefusedRequestError(Exception):
    """A request that is refused."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class PageGuard:
    """ASGI middleware that refuses foreign hosts and sites, large bodies, and files of the disk."""

    def __init__(self, app: ASGIApp, *, uploads: Path, upload_limit: int):
        """
        Args:
            app: the guarded application.
            uploads: folder of uploads and answers; requests may name no other file.
            upload_limit: bytes of one upload.
        """
        self.app = app
        self.uploads = uploads.resolve()
        self.upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the server's start and end; gradio has no WebSockets
            await self.app(scope, receive, send)
            return
        try:
            refuse_foreign(scope)
            receive = await self._check_body(scope, receive)
        except RefusedRequestError as refusal:
            answer = PlainTextResponse(str(refusal), refusal.status)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check_body(self, scope: Scope, receive: Receive) -> Receive:
        """Check a body and return a channel on which gradio reads exactly what was checked.

        Raises:
            RefusedRequestError: the body is too large, not JSON, or names a file that was not
                uploaded.
        """
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        is_upload = scope["path"].rstrip("/") == UPLOAD_PATH
        refuse_large(Headers(scope=scope), self.upload_limit if is_upload else CALL_LIMIT)
        if is_upload:
            return receive
        body = await Request(scope, receive).body()
        if not body:
            return _replay(body, receive)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedRequestError(400, "the request is not JSON") from error
        for path in _find_named_files(content):
            self._refuse_unknown_file(path)
        body = json.dumps(content).encode()
        MutableHeaders(scope=scope)["content-length"] = str(len(body))
        return _replay(body, receive)

    def _refuse_unknown_file(self, path: Any) -> None:
        """Raise RefusedRequestError unless ``path`` is an upload."""
        # gradio checks only those that come with {"meta": ...}, and fetches those that are URLs.
        try:
            is_upload = Path(path).resolve().is_relative_to(self.uploads)
        except (TypeError, ValueError, OSError, RuntimeError):  # no text, NUL, too long, a loop
            is_upload = False
        if not is_upload:
            raise RefusedRequestError(
                403, "only files that were uploaded to this page may be asked about"
            )


def refuse_foreign(scope: Scope) -> None:
    """Raise RefusedRequestError unless this page or its user made the request."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not OWN_HOST.fullmatch(hosts[0]):
        raise RefusedRequestError(421, "this page answers to localhost and 127.0.0.1 only")
    for origin in headers.getlist("origin"):
        if urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise RefusedRequestError(403, "this page answers no requests of other sites")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # A link to the page may be followed; the page may not be embedded.
        if headers.get("sec-fetch-dest") != "document" or scope["method"] != "GET":
            raise RefusedRequestError(403, "this page answers no requests of other sites")
    if "://" in scope["path"]:
        raise RefusedRequestError(404, "this page fetches nothing from other machines")


def refuse_large(headers: Headers, limit: int) -> None:
    """Raise RefusedRequestError for a body of more than ``limit`` bytes or of unknown size."""
    size = headers.get("content-length", "")
    if not (size.isascii() and size.isdigit()):
        raise RefusedRequestError(411, "a request must say its size")
    if int(size) > limit:
        raise RefusedRequestError(413, f"a request of more than {limit} bytes")


def _find_named_files(content: Any, depth: int = 0) -> Iterator[Any]:
    """Find every value of a key "path" in a JSON value.

    Raises:
        RefusedRequestError: nested deeper than any call of the page.
    """
    if depth > NESTED_LIMIT:
        raise RefusedRequestError(400, "the request is nested too deeply")
    if isinstance(content, dict):
        if "path" in content:
            yield content["path"]
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _find_named_files(value, depth + 1)


def _replay(body: bytes, receive: Receive) -> Receive:
    """An ASGI channel that delivers ``body`` first, then the client's messages."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
