"""Checks of requests before the service reads them."""

from __future__ import annotations

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..web.guard import RefusedRequestError, refuse_foreign, refuse_large

OPEN_PATHS = ("/health",)  # for a load balancer, which has no token


class ServiceGate:
    """ASGI middleware: own hosts or a token, bodies of a bounded size that arrive in time."""

    def __init__(self, app: ASGIApp, *, token: str, largest_request: int, upload_seconds: float):
        """
        Args:
            app: the guarded application.
            token: that requests must bear; "": none, and only this machine's names are answered.
            largest_request: bytes.
            upload_seconds: in which a whole body must arrive.
        """
        self.app = app
        self.token = token
        self.largest_request = largest_request
        self.upload_seconds = upload_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_sender(scope)
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                refuse_large(Headers(scope=scope), self.largest_request)
                receive = await self._read_in_time(receive)
        except RefusedRequestError as refusal:
            # The rest of the body is not read, so the connection cannot go on.
            headers = {"connection": "close"}
            answer = JSONResponse({"detail": str(refusal)}, refusal.status, headers)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_sender(self, scope: Scope) -> None:
        """Raise RefusedRequestError without the token or, where there is none, from elsewhere."""
        if not self.token:
            refuse_foreign(scope)
            return
        sent = Headers(scope=scope).get("authorization", "")
        wanted = f"Bearer {self.token}".encode()
        if scope["path"] not in OPEN_PATHS and not hmac.compare_digest(sent.encode(), wanted):
            raise RefusedRequestError(401, "this service needs a token: Authorization: Bearer ...")

    async def _read_in_time(self, receive: Receive) -> Receive:
        """Read a body; return a channel that delivers it.

        Raises:
            RefusedRequestError: it did not arrive in time, or its sender left.
        """
        chunks = []
        try:
            async with asyncio.timeout(self.upload_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedRequestError(400, "the request ended before its body did")
                    chunks.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            raise RefusedRequestError(
                408, f"the request did not arrive within {self.upload_seconds:g} s"
            ) from error
        messages: list[Message] = [
            {"type": "http.request", "body": b"".join(chunks), "more_body": False}
        ]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        return replay
