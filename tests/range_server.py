"""A local web server for files, which answers range requests, counts bytes and can fail."""

import threading
import time
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Route


class FileServer:
    """Serves a folder's files.

    ``faults`` are spent one a GET request, in order: "error" (500), "reset" (the connection ends
    in the middle of the answer), "slow" (half a second late), "" (none).
    """

    def __init__(self, folder):
        self.folder, self.faults = folder, []
        self.requests, self.num_bytes = [], 0
        self.app = Starlette(routes=[Route("/{name:path}", self.answer)])

    async def answer(self, request):
        path = self.folder / request.path_params["name"]
        if not path.is_file():
            return PlainTextResponse("not here", status_code=404)
        return FileResponse(path)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_get = scope["method"] == "GET"
        self.requests.append((scope["method"], scope["path"]))
        fault = self.faults.pop(0) if self.faults and is_get else ""
        if fault == "error":
            await PlainTextResponse("broken", status_code=500)(scope, receive, send)
            return
        if fault == "slow":
            time.sleep(0.5)

        async def count(message):
            body = message.get("body", b"")
            if fault == "reset" and body:
                await send({**message, "body": body[: len(body) // 2], "more_body": True})
                raise ConnectionResetError("as asked for by the test")
            self.num_bytes += len(body) if is_get else 0
            await send(message)

        # FileResponse may hand the file over to the server, which counts nothing.
        scope = {**scope, "extensions": {}}
        await self.app(scope, receive, count)


@contextmanager
def serve(folder):
    """A running FileServer, whose ``url`` ends in a slash."""
    files = FileServer(folder)
    server = uvicorn.Server(uvicorn.Config(files, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    files.url = f"http://127.0.0.1:{port}/"
    try:
        yield files
    finally:
        server.should_exit = True
        thread.join()
