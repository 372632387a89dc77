"""What may be asked of the page, decided before gradio sees the request.

The page listens on this machine only, but so does the browser that shows its user any other site.
Such a site may make the browser send requests here, or have its own name point here (DNS
rebinding) and read the answers.
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

# By name: whoever comes through a tunnel from another machine has another port.
OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
UPLOAD_PATH = "/gradio_api/upload"
MEGABYTE = 2**20
CALL_LIMIT = MEGABYTE  # bytes of a request that is no upload: sentences and numbers
NESTED_LIMIT = 20  # lists and objects inside each other


class RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class PageGuard:
    """ASGI middleware that refuses foreign hosts and sites, large bodies, and files of the disk."""

    def __init__(self, app: ASGIApp, *, uploads: Path, upload_limit: int):
        """
        Args:
            app: what is guarded.
            uploads: the folder of what was uploaded or made; nothing else on the disk may be named.
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
            receive = await self.checked_body(scope, receive)
        except RefusedError as refusal:
            answer = PlainTextResponse(str(refusal), refusal.status)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def checked_body(self, scope: Scope, receive: Receive) -> Receive:
        """What gradio shall read: of a call, what was checked, as it was understood here.

        Raises:
            RefusedError: the body is too large, no JSON, or names a file that nobody uploaded.
        """
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        is_upload = scope["path"].rstrip("/") == UPLOAD_PATH
        refuse_large(Headers(scope=scope), self.upload_limit if is_upload else CALL_LIMIT)
        if is_upload:
            return receive
        body = await Request(scope, receive).body()
        if not body:
            return replayed(body, receive)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "the request is no JSON") from error
        for path in named_files(content):
            self.refuse_unknown_file(path)
        body = json.dumps(content).encode()
        MutableHeaders(scope=scope)["content-length"] = str(len(body))
        return replayed(body, receive)

    def refuse_unknown_file(self, path: Any) -> None:
        """Raise RefusedError unless ``path`` is that of an upload."""
        # gradio checks only those that come with {"meta": ...}, and fetches those that are URLs.
        try:
            is_upload = Path(path).resolve().is_relative_to(self.uploads)
        except (TypeError, ValueError, OSError, RuntimeError):  # no text, NUL, too long, a loop
            is_upload = False
        if not is_upload:
            raise RefusedError(403, "only files that were uploaded to this page may be asked about")


def refuse_foreign(scope: Scope) -> None:
    """Raise RefusedError for a request that was not made by this page or typed by its user."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not OWN_HOST.fullmatch(hosts[0]):
        raise RefusedError(421, "this page answers to localhost and 127.0.0.1 only")
    for origin in headers.getlist("origin"):
        if urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise RefusedError(403, "this page answers no requests of other sites")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # A link to the page may be followed; nothing of it may be embedded.
        if headers.get("sec-fetch-dest") != "document" or scope["method"] != "GET":
            raise RefusedError(403, "this page answers no requests of other sites")
    if "://" in scope["path"]:
        raise RefusedError(404, "this page fetches nothing from other machines")


def refuse_large(headers: Headers, limit: int) -> None:
    """Raise RefusedError for a body of more bytes than ``limit``, or of a size that is not said."""
    size = headers.get("content-length", "")
    if not (size.isascii() and size.isdigit()):
        raise RefusedError(411, "a request must say its size")
    if int(size) > limit:
        raise RefusedError(413, f"a request of more than {limit} bytes")


def named_files(content: Any, depth: int = 0) -> Iterator[Any]:
    """Every value under "path" in what JSON holds, however deep.

    Raises:
        RefusedError: deeper than any call of the page.
    """
    if depth > NESTED_LIMIT:
        raise RefusedError(400, "lists within lists within lists")
    if isinstance(content, dict):
        if "path" in content:
            yield content["path"]
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from named_files(value, depth + 1)


def replayed(body: bytes, receive: Receive) -> Receive:
    """An ASGI channel that says ``body`` first, and then what the client says."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
