#!/usr/bin/env python3
"""Send a running service many requests at once, some of them bad, and check every answer.

    cadformer serve model.onnx --upload-seconds 2
    python tools/load_service.py --image photo.jpg --expression "the leftmost airplane" "a ship"

A tenth of the requests is broken, too large or too slow. An answer to a good request must be the
one that the service gave when it was alone, or a refusal with a reason; a refused or lost
connection is tried again, so that the service may be killed and started in between. Exit code 0: no
request was lost and no answer was wrong.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import re
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

BAD = ("broken", "large", "slow")
EXPECTED = {"broken": (400,), "large": (413,), "slow": (408,)}
BUSY = (503, 504)  # refusals of good requests
RETRY_SECONDS, LONGEST_ABSENCE = 0.2, 60.0
SOCKET_SECONDS = 120.0
TOLERANCE = 1e-3  # of scores and shares
Answer = tuple[int, str]  # status and body


def make_body(image: bytes, expression: str) -> tuple[bytes, str]:
    """A multipart form with an image and an expression, and its content type."""
    boundary = secrets.token_hex(16)
    start = f"--{boundary}\r\nContent-Disposition: form-data; name="
    before = f'{start}"expression"\r\n\r\n{expression}\r\n{start}"image"; filename="image"\r\n\r\n'
    body = before.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


class Client:
    """Asks one service."""

    def __init__(self, url: str, token: str):
        self.url = urlsplit(url)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> str:
        connection = self._connect()
        connection.request("GET", path, headers=self.headers)
        return connection.getresponse().read().decode()

    def ask(self, image: bytes, expression: str, *, kind: str = "good") -> Answer:
        """Send one request; a slow one stops in the middle of its body."""
        body, content_type = make_body(image, expression)
        connection = self._connect()
        connection.putrequest("POST", "/predict")
        length = 2**31 if kind == "large" else len(body)
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        for name, value in {**self.headers, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        if kind == "slow":
            connection.send(body[: len(body) // 2])
        elif kind != "large":
            connection.send(body)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def ask_until_answered(self, image: bytes, expression: str, *, kind: str) -> Answer:
        """As ``ask``, again while there is no service.

        Raises:
            OSError: it stayed away.
        """
        end = time.monotonic() + LONGEST_ABSENCE
        while True:
            try:
                return self.ask(image, expression, kind=kind)
            except (OSError, http.client.HTTPException):
                if time.monotonic() > end:
                    raise
                time.sleep(RETRY_SECONDS)

    def resident_megabytes(self) -> float:
        """Memory of the service's process."""
        found = re.search(r"^process_resident_memory_bytes (\S+)", self.get("/metrics"), re.M)
        return float(found[1]) / 2**20 if found else float("nan")

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            self.url.hostname or "", self.url.port, timeout=SOCKET_SECONDS
        )


def plan_kinds(num_requests: int) -> list[str]:
    """Every tenth request is bad, each kind in turn."""
    return [
        BAD[number // 10 % len(BAD)] if number % 10 == 9 else "good"
        for number in range(num_requests)
    ]


def judge(kind: str, answer: Answer, wanted: str) -> str:
    """What became of a request: "answered", "refused", or what is wrong with its answer."""
    status, body = answer
    if kind == "good" and status == 200:
        return "answered" if is_same(json.loads(body), json.loads(wanted)) else "another answer"
    expected = BUSY if kind == "good" else EXPECTED[kind]
    if status not in expected:
        return f"status {status} for a request that is {kind}"
    return "refused" if json.loads(body).get("detail") else f"status {status} without a reason"


def is_same(found: dict, wanted: dict) -> bool:
    """Whether two answers differ by no more than the rounding of another batch size."""
    pairs = zip(found["answers"], wanted["answers"], strict=True)
    return all(
        ours["expression"] == theirs["expression"]
        and abs(ours["score"] - theirs["score"]) < TOLERANCE
        and abs(ours["share"] - theirs["share"]) < TOLERANCE
        for ours, theirs in pairs
    )


def load(client: Client, image: bytes, expressions: list[str], *, count: int, at_once: int) -> bool:
    """Send the requests, print what became of them, and return whether all is well."""
    alone = {expression: client.ask(image, expression)[1] for expression in expressions}
    before = client.resident_megabytes()
    results: collections.Counter[tuple[str, str]] = collections.Counter()
    seconds = []

    def send(number: int, kind: str) -> None:
        expression = expressions[number % len(expressions)]
        content = image[: len(image) // 3] if kind == "broken" else image
        start = time.monotonic()
        try:
            answer = client.ask_until_answered(content, expression, kind=kind)
            results[kind, judge(kind, answer, alone[expression])] += 1
        except (OSError, http.client.HTTPException) as error:
            results[kind, f"lost: {error}"] += 1
        if kind == "good":
            seconds.append(time.monotonic() - start)

    start = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(send, range(count), plan_kinds(count)))
    elapsed = time.monotonic() - start
    for (kind, result), number in sorted(results.items()):
        print(f"{number:5} {kind:7} {result}")
    seconds.sort()
    print(
        f"{count} requests, {at_once} at once, in {elapsed:.1f} s; good ones took "
        f"{seconds[len(seconds) // 2]:.2f} s (median), {seconds[-1]:.2f} s (longest); memory "
        f"{before:.0f} MB before, {client.resident_megabytes():.0f} MB after"
    )
    return all(result in ("answered", "refused") for _, result in results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token", default="")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--expression", nargs="+", required=True)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=20)
    arguments = parser.parse_args()
    socket.setdefaulttimeout(SOCKET_SECONDS)
    is_well = load(
        Client(arguments.url, arguments.token),
        arguments.image.read_bytes(),
        arguments.expression,
        count=arguments.requests,
        at_once=arguments.at_once,
    )
    raise SystemExit(0 if is_well else 1)


if __name__ == "__main__":
    main()
