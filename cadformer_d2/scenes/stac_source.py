"""Scenes that a STAC item, collection, catalog or item collection names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from ..inference.named_url import is_url
from .source import SceneSource

try:
    import pystac
    from pystac.stac_io import RetryStacIO
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

GEOTIFF = "image/tiff"  # media types of GeoTIFFs begin so
NOT_PIXELS = {"thumbnail", "overview", "metadata"}  # roles


@dataclass
class StacReader:
    """Reads STAC documents and chooses an asset, and bands, of each item."""

    asset: str | None = None  # its key; None: the only GeoTIFF with pixels
    band_names: tuple[str, ...] | None = None  # for red, green and blue; None: as the file says
    places: list[str] = field(default_factory=list)  # of the documents read

    def __call__(self, place: str) -> Iterator[SceneSource]:
        """The scenes of a document, as they are read.

        Args:
            place: path or URL.

        Raises:
            ValueError: no STAC document, or an item without that asset or band.
            OSError: it cannot be read.
        """
        self.places.append(place)
        for item in _read_items(place):
            yield self._choose(item, place)

    def _choose(self, item: pystac.Item, place: str) -> SceneSource:
        name = f"{place}: item {item.id}"
        key = self._asset_key(item, name)
        asset = item.assets[key]
        href = asset.get_absolute_href() or urljoin(place, asset.href)
        if is_url(place) and not is_url(href):
            raise ValueError(f"{name} names {href}, which is no URL of the web")
        if "://" in href and not is_url(href):
            raise ValueError(f"{name} names {href}; only files, http and https can be read")
        time = item.datetime or item.common_metadata.start_datetime
        return SceneSource(
            href if is_url(href) else str(Path(href).absolute()),
            time=time.isoformat() if time else "",
            bands=self._find_bands(asset, f"{name}, asset {key}"),
        )

    def _asset_key(self, item: pystac.Item, name: str) -> str:
        if self.asset is not None:
            keys = [key for key in item.assets if key == self.asset]
        else:
            keys = [
                key
                for key, asset in item.assets.items()
                if (asset.media_type or "").startswith(GEOTIFF)
                and NOT_PIXELS.isdisjoint(asset.roles or ())
            ]
        if len(keys) != 1:
            wanted = "no asset" if not keys else "several assets"
            called = f" {self.asset!r}" if self.asset else " that is a GeoTIFF"
            raise ValueError(
                f"{name} has {wanted}{called}; choose one with --asset: {', '.join(item.assets)}"
            )
        return keys[0]

    def _find_bands(self, asset: pystac.Asset, name: str) -> tuple[int, ...] | None:
        """Numbers, from 1, of the bands with the wanted names."""
        if self.band_names is None:
            return None
        bands = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
        names = [
            {band.get(key) for key in ("name", "eo:common_name", "common_name")} for band in bands
        ]
        found = [
            next((number for number, known in enumerate(names, 1) if wanted in known), 0)
            for wanted in self.band_names
        ]
        if not all(found):
            missing = ", ".join(n for n, at in zip(self.band_names, found, strict=True) if not at)
            known = ", ".join(str(band.get("name")) for band in bands) or "none"
            raise ValueError(f"{name} has no band {missing}; its bands: {known}")
        return tuple(found)


def _read_items(place: str) -> Iterator[pystac.Item]:
    """The items of a document, and of those that it links to."""
    reader = RetryStacIO()
    try:
        text = reader.read_text(place)
    except Exception as error:  # which is what pystac raises where a server does not answer
        raise OSError(f"{place} cannot be read: {error.__cause__ or error}") from error
    try:
        content: dict[str, Any] = json.loads(text)
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "FeatureCollection":
            yield from pystac.ItemCollection.from_dict(content)
        elif kind == "Feature":
            yield pystac.Item.from_dict(content, href=place)
        elif kind in ("Collection", "Catalog"):
            catalog = pystac.read_dict(content, href=place, stac_io=reader)
            assert isinstance(catalog, pystac.Catalog), f"{place} was read as {type(catalog)}"
            yield from catalog.get_items(recursive=True)
        else:
            raise ValueError(f"its type is {kind!r}")
    except (ValueError, KeyError, pystac.STACError) as error:
        raise ValueError(f"{place} is no STAC document that can be read: {error}") from error
