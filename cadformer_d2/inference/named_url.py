"""Rasters on the network, read by range requests where the user named their URL.

Needs the extra ``geo``.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import rasterio

SCHEMES = ("http://", "https://")
TRIES = 5  # of a request that failed, with growing pauses
SECONDS = 30  # without a byte, after which a request has failed
# Compressed pixels that are kept in memory, so that the second look at a scene (which of its pixels
# are valid) asks for nothing again.
KEPT_BYTES = 256 * 2**20
FIRST_BYTES = 32 * 2**10  # asked for when a file is opened: the header of most GeoTIFFs


@dataclass(frozen=True)
class NamedUrl:
    """The URL of a GeoTIFF that a user named; best Cloud-Optimized."""

    text: str

    def __post_init__(self) -> None:
        if not is_url(self.text):
            raise ValueError(f"{self.text} is not a URL of {' or '.join(SCHEMES)}")

    def __str__(self) -> str:
        return self.text

    @property
    def vsi_name(self) -> str:
        """GDAL's name for it."""
        # As a part of itself: asked for several blocks at once, GDAL fetches those again that it
        # has, which was 21 times the file's bytes for overlapping tiles. A part has no such path.
        return f"/vsisubfile/0,{self._curl_name}"

    @property
    def _curl_name(self) -> str:
        return f"/vsicurl/{self.text}"

    def allowed(self) -> rasterio.Env:
        """Let GDAL ask for this URL, and for no other, within a context.

        A failed answer or an old copy is forgotten with the last open handle.
        """
        return rasterio.Env(
            CPL_VSIL_CURL_ALLOWED_FILENAME=self._curl_name,
            CPL_VSIL_CURL_NON_CACHED=self._curl_name,
            CPL_VSIL_CURL_CACHE_SIZE=KEPT_BYTES,
            GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
            GDAL_INGESTED_BYTES_AT_OPEN=FIRST_BYTES,
            GDAL_HTTP_MAX_RETRY=TRIES - 1,
            GDAL_HTTP_RETRY_DELAY=0.2,
            GDAL_HTTP_RETRY_CODES="ALL",
            GDAL_HTTP_CONNECTTIMEOUT=SECONDS,
            GDAL_HTTP_LOW_SPEED_LIMIT=1,
            GDAL_HTTP_LOW_SPEED_TIME=SECONDS,
        )

    def ask_identity(self) -> dict[str, Any]:
        """What the server says of the file without its content, for JSON.

        Raises:
            OSError: no answer, or none that is good.
        """
        headers = _ask_headers(self.text)
        return {
            "changed": headers.get("ETag") or headers.get("Last-Modified") or "",
            "bytes": int(headers.get("Content-Length") or 0),
        }

    def ask_modified(self) -> str:
        """The file's Last-Modified, as the server writes it; "" if it does not say."""
        return _ask_headers(self.text).get("Last-Modified") or ""


def is_url(text: str) -> bool:
    return text.lower().startswith(SCHEMES)


def _ask_headers(url: str) -> Any:
    """Ask for the headers of a URL; failures that may pass are asked again."""
    for number in range(1, TRIES + 1):
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return answer.headers
        except OSError as error:
            may_pass = not isinstance(error, urllib.error.HTTPError) or error.code >= 500
            if number == TRIES or not may_pass:
                raise OSError(f"{url} does not answer: {error}") from error
        time.sleep(0.2 * 2**number)
    raise AssertionError("the last try returns or raises")
