"""What a service counts and times, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import (
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)  # bounds of times
SIZES = (1, 2, 4, 8, 16, 32)  # and of batches
KNOWN_PATHS = ("/predict", "/mask", "/health", "/metrics", "/docs", "/openapi.json")
OTHER = "other"  # any further path: those who ask choose it


class ServiceMetrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(PROCESS_COLLECTOR)  # memory and time of the process
        self.requests = Counter(
            "cadformer_requests", "Requests by path and status", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "cadformer_request_seconds", "Time of a request", ["path"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.batch_size = Histogram(
            "cadformer_batch_size", "Questions of a forward pass", buckets=SIZES,
            registry=self.registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "cadformer_batch_seconds", "Time of a forward pass", buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge("cadformer_waiting", "Questions that wait", registry=self.registry)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count a forward pass."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def observe_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        path = path if path in KNOWN_PATHS else OTHER
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)


class MetricsMiddleware:
    """ASGI middleware that counts and times requests, refused ones included."""

    def __init__(self, app: ASGIApp, *, metrics: ServiceMetrics):
        """
        Args:
            app: whose requests count.
            metrics: that count them.
        """
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            self.metrics.observe_request(scope["path"], status, time.perf_counter() - start)
