"""A scene's answer as a STAC item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ..inference.named_url import NamedUrl
from ..inference.raster import Scene
from ..version import __version__
from .job import Job
from .source import SceneSource

try:
    import pystac
    from pystac.extensions.projection import ProjectionExtension
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

ITEM_FILE, POLYGONS_FILE, COLLECTION_FILE = "item.json", "polygons.gpkg", "collection.json"
# Of STAC, for how something was made.
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
TIFF_TIME = "%Y:%m:%d %H:%M:%S"
UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def mask_name(number: int) -> str:
    """The file of the mask of a sentence, numbered from 1."""
    return f"mask_{number}.tif"


def make_item(
    name: str,
    *,
    source: SceneSource,
    scene: Scene,
    job: Job,
    targets: Sequence[str],
    counts: Sequence[int],
) -> dict[str, Any]:
    """A STAC item that names the masks and polygons of a scene.

    Args:
        name: of the answer.
        targets: meant by each sentence, "all" or "one".
        counts: of polygons, by sentence.
    """
    footprint = _footprint(scene)
    item = pystac.Item(
        id=name,
        geometry=None if footprint is None else shapely.geometry.mapping(footprint),
        bbox=None if footprint is None else list(footprint.bounds),
        datetime=find_time(source, scene),
        properties={
            "processing:software": {"cadformer_d2": __version__},
            "cadformer:scene": source.location,
            "cadformer:sentences": list(job.sentences),
            "cadformer:targets": list(targets),
            "cadformer:num_polygons": list(counts),
            "cadformer:checkpoint": job.checkpoint,
        },
        stac_extensions=[PROCESSING],
    )
    _add_projection(item, scene)
    for number, sentence in enumerate(job.sentences, start=1):
        mask = pystac.Asset(
            f"./{mask_name(number)}", title=sentence, media_type=pystac.MediaType.COG,
            roles=["data"],
        )  # fmt: skip
        item.add_asset(f"mask_{number}", mask)
    polygons = pystac.Asset(
        f"./{POLYGONS_FILE}", title="polygons", media_type=pystac.MediaType.GEOPACKAGE,
        roles=["data"],
    )  # fmt: skip
    item.add_asset("polygons", polygons)
    for relation in (pystac.RelType.ROOT, pystac.RelType.PARENT, pystac.RelType.COLLECTION):
        item.add_link(pystac.Link(relation, f"../../{COLLECTION_FILE}", pystac.MediaType.JSON))
    item.collection_id = job.output.name
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def write_item(path: Path, item: dict[str, Any]) -> None:
    path.write_text(json.dumps(item, indent=1, ensure_ascii=False), encoding="utf-8")


def read_item(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def find_time(source: SceneSource, scene: Scene) -> datetime:
    """When the image was taken, as its STAC item or its TIFF tag says; else when it was changed."""
    if source.time:
        return _in_utc(datetime.fromisoformat(source.time))
    try:
        tag = scene.dataset.tags().get("TIFFTAG_DATETIME", "")
        return _in_utc(datetime.strptime(tag, TIFF_TIME))
    except ValueError:
        pass
    if isinstance(scene.path, NamedUrl):
        modified = scene.path.ask_modified()
        return _in_utc(parsedate_to_datetime(modified)) if modified else UNKNOWN_TIME
    times = [file.stat().st_mtime for file in scene.source.files if file.exists()]
    return datetime.fromtimestamp(int(max(times)), UTC) if times else UNKNOWN_TIME


def format_time(time: datetime) -> str:
    """As STAC writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _footprint(scene: Scene) -> Any | None:
    """The scene's outline in longitude and latitude; None if it is not on earth."""
    if not scene.placement.is_on_earth:
        return None
    height, width = scene.size
    outline = np.array([shapely.box(0, 0, width, height)], object)
    return scene.placement.polygons_to_degrees(scene.placement.polygons_to_crs(outline))[0]


def _add_projection(item: pystac.Item, scene: Scene) -> None:
    placement = scene.placement
    if placement.crs is None:
        return
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    code = placement.crs.to_epsg()
    projection.apply(
        code=None if code is None else f"EPSG:{code}",
        wkt2=placement.crs.to_wkt() if code is None else None,
        shape=list(scene.size),
        transform=None if placement.gcps else list(placement.transform)[:6],
    )
