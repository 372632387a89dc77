"""The service: an image and expressions in, polygons, masks and scores out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, HTTPException, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ..inference import MaskPredictor, ReferredMask
from ..version import __version__
from .answers import answer_json, mask_png, prepare_samples
from .batching import BatchRunner, QueueFullError
from .gate import ServiceGate
from .limits import Limits
from .metrics import MetricsMiddleware, ServiceMetrics
from .page import describe_operations

RETRY_SECONDS = 1  # after which a refused request may find room

Expressions = Annotated[list[str], Form(description="What is looked for; repeat the field.")]
ImageFile = Annotated[bytes, File(description="A JPEG, PNG, TIFF, ... of 8 bits a channel.")]


class Service:
    """Answers requests with one model; each refusal has a status and a reason."""

    def __init__(self, predictor: MaskPredictor, limits: Limits):
        """
        Args:
            predictor: of the model.
            limits: of requests.
        """
        self.predictor = predictor
        self.limits = limits
        self.metrics = ServiceMetrics()
        self.runner = BatchRunner(
            predictor, capacity=limits.waiting, observe=self.metrics.observe_batch
        )
        self.metrics.waiting.set_function(lambda: self.runner.num_waiting)

    async def answer(self, content: bytes, expressions: list[str]) -> list[ReferredMask]:
        """
        Raises:
            HTTPException: 400 for a request that cannot be answered, 503 where too many wait, 504
                where the answer took too long.
        """
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                samples = await asyncio.to_thread(
                    prepare_samples, self.predictor, content, expressions, self.limits
                )
                futures = self.runner.submit(samples)
                try:
                    return await asyncio.gather(*map(asyncio.wrap_future, futures))
                finally:
                    for future in futures:
                        future.cancel()
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        except QueueFullError as error:
            raise HTTPException(
                503,
                f"{self.limits.waiting} questions wait already; ask again later",
                {"Retry-After": str(RETRY_SECONDS)},
            ) from error
        except TimeoutError as error:
            raise HTTPException(
                504, f"no answer within {self.limits.answer_seconds:g} s; ask again later"
            ) from error


def create_app(
    predictor: MaskPredictor, *, model: str, limits: Limits | None = None, token: str = ""
) -> FastAPI:
    """
    Args:
        predictor: answers.
        model: its name, for /health.
        limits: of requests; None: the defaults.
        token: that requests must bear; "": none, and only this machine's names are answered.
    """
    service = Service(predictor, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with service.runner.running():
            yield

    app = FastAPI(
        title="cadformer_d2",
        version=__version__,
        description="Point at a thing in an aerial image with a sentence.",
        docs_url=None,  # it would fetch scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.post("/predict")
    async def predict(
        image: ImageFile,
        expression: Expressions,
        masks: Annotated[bool, Query(description="Add mask_png, base64.")] = False,
    ) -> dict[str, Any]:
        """Score and polygons (GeoJSON, x right and y down in pixels) of each expression."""
        found = await service.answer(image, expression)
        height, width = found[0].mask.shape
        answers = await asyncio.to_thread(
            lambda: [answer_json(answer, with_mask=masks) for answer in found]
        )
        return {"height": height, "width": width, "answers": answers}

    @app.post("/mask", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def mask(image: ImageFile, expression: Annotated[str, Form()]) -> Response:
        """The mask of one expression, a black and white PNG of the image's size."""
        (found,) = await service.answer(image, [expression])
        headers = {"X-Score": f"{found.score:.4f}"}
        return Response(mask_png(found), media_type="image/png", headers=headers)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether it answers, with which model, and how many questions wait."""
        return {"status": "ok", "model": model, "waiting": service.runner.num_waiting}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts, times and memory for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(describe_operations(app.openapi()))

    # The last one added sees a request first: what the gate refuses is counted, too.
    app.add_middleware(
        ServiceGate,
        token=token,
        largest_request=service.limits.request_bytes,
        upload_seconds=service.limits.upload_seconds,
    )
    app.add_middleware(MetricsMiddleware, metrics=service.metrics)
    return app
