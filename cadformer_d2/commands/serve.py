"""Answer questions about images over HTTP.

    cadformer serve model.onnx
    curl -F image=@photo.jpg -F "expression=the leftmost airplane" http://127.0.0.1:8000/predict

It listens on this machine only. For others, give --host and a token: CADFORMER_TOKEN in the
environment, or --token-file. /docs describes the operations, /health says whether it answers,
/metrics is for Prometheus.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..command_errors import at_least_one
from ..inference.load_predictor import load_predictor

TOKEN_VARIABLE = "CADFORMER_TOKEN"
SHORTEST_TOKEN = 16  # characters
STOP_SECONDS = 30  # for requests in progress, when the service is stopped


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", default="", help="exported .onnx, or what predict's --weights takes"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--token-file", type=Path, help="whose first line requests must bear")
    parser.add_argument("--device", help="cuda, cpu, ...; default: a GPU where there is one")
    parser.add_argument("--batch-size", type=at_least_one, default=8, help="questions at once")
    for name, kind, what in (
        ("request_bytes", at_least_one, "of a request"),
        ("waiting", at_least_one, "questions that may wait"),
        ("upload_seconds", float, "for a request to arrive"),
        ("answer_seconds", float, "from then to its answer"),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=what)
    return parser.parse_args()


def read_token(file: Path | None) -> str:
    """The token of a file or of the environment; "": none.

    Raises:
        ValueError: it is too short to be one.
    """
    found = file.read_text() if file else os.environ.get(TOKEN_VARIABLE, "")
    token = found.strip().split("\n")[0].strip()
    if (token or file) and not (len(token) >= SHORTEST_TOKEN and token.isascii()):
        raise ValueError(
            f"a token has at least {SHORTEST_TOKEN} ASCII characters: openssl rand -hex 32"
        )
    return token


def refuse_open_service(host: str, token: str) -> None:
    """Raise ValueError for a service without a token that other machines can reach."""
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = host == "localhost"
    if not is_own and not token:
        raise ValueError(
            f"--host {host} is reached from other machines: set {TOKEN_VARIABLE} or --token-file"
        )


def main() -> None:
    arguments = parse_arguments()
    token = read_token(arguments.token_file)
    refuse_open_service(arguments.host, token)
    try:
        import uvicorn

        from ..serving.app import create_app
        from ..serving.limits import Limits
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; the service needs the extra serve: "
            "pip install 'cadformer_d2[serve]'"
        ) from error
    from ..inference import connected_components  # noqa: F401  (the extra geo, asked for at once)

    given: dict[str, Any] = {
        field.name: value
        for field in fields(Limits)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    predictor = load_predictor(
        arguments.model, device=arguments.device, batch_size=arguments.batch_size
    )
    app = create_app(
        predictor,
        model=Path(arguments.model).name or "the ready model",
        limits=Limits(**given),
        token=token,
    )
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=STOP_SECONDS,
        server_header=False,
    )
