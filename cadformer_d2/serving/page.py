"""A page about the service's operations, without anything from other sites."""

from __future__ import annotations

from html import escape
from typing import Any

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}}
pre{{background:#eee;padding:.5em;overflow:auto}}</style></head><body>
<h1>{title} {version}</h1><p>{description}</p>
{operations}
<p>For programs: <a href="/openapi.json">openapi.json</a></p></body></html>
"""
EXAMPLES = {
    "/predict": 'curl -F image=@photo.jpg -F "expression=the leftmost airplane" {here}/predict',
    "/mask": 'curl -F image=@photo.jpg -F "expression=the airplane" {here}/mask -o mask.png',
    "/health": "curl {here}/health",
    "/metrics": "curl {here}/metrics",
}
HERE = "http://127.0.0.1:8000"


def describe_operations(schema: dict[str, Any]) -> str:
    """HTML with the operations of an OpenAPI schema, and an example of each."""
    about = schema["info"]
    parts = [
        f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
        f"<pre>{escape(EXAMPLES.get(path, '').format(here=HERE))}</pre>"
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return PAGE.format(
        title=escape(about["title"]),
        version=escape(about["version"]),
        description=escape(about["description"]),
        operations="\n".join(parts),
    )
