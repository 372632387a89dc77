"""All answers of a call together: a table of polygons, and a STAC collection."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import pystac
import shapely

from ..atomic_files import replace_atomically, write_atomically
from ..inference.vector import LAYER, Table, write_geopackage
from .job import Job
from .stac_item import COLLECTION_FILE, ITEM_FILE, POLYGONS_FILE, read_item
from .worker import DEGREES, SCENES

ROWS_AT_ONCE = 10_000
WORLD = (-180.0, -90.0, 180.0, 90.0)
# A GeoPackage says when it was changed; a fixed time keeps its bytes those of every other run.
TABLE_CHANGED = "2000-01-01T00:00:00Z"


def write_table(job: Job, names: Iterable[str], path: Path) -> int:
    """Write the polygons of all scenes, in longitude and latitude, to one GeoPackage.

    A scene that is not on earth gives rows without a geometry. Other layers of a GeoPackage that is
    there stay.

    Args:
        names: of the answers.

    Returns:
        number of rows.

    Raises:
        OSError: it could not be written.
    """

    def tables() -> Iterator[Table]:
        for name in names:
            yield from _read_polygons(job.output / SCENES / name / POLYGONS_FILE)

    with replace_atomically(path) as temporary:
        if path.exists() and [*pyogrio.list_layers(path)[:, 0]] != [LAYER]:
            shutil.copyfile(path, temporary)
        return write_geopackage(
            tables(), temporary, crs=DEGREES, geometry_type="MultiPolygon", changed=TABLE_CHANGED
        )


def _read_polygons(path: Path) -> Iterator[Table]:
    """Read the table of a scene, some rows at a time; a first table may have no row."""
    first = 0
    while True:
        about, _, geometry, columns = pyogrio.raw.read(
            path, layer=LAYER, skip_features=first, max_features=ROWS_AT_ONCE
        )
        polygons = shapely.from_wkb(geometry)
        if about["crs"] != DEGREES:
            polygons = np.full(len(polygons), None, object)
        yield {**dict(zip(about["fields"], columns, strict=True)), "geometry": polygons}
        first += len(polygons)
        if len(polygons) < ROWS_AT_ONCE:
            return


def write_collection(job: Job, names: Sequence[str]) -> None:
    """Write the STAC collection of the answers.

    Raises:
        OSError: it could not be written.
    """
    boxes: list[list[float]] = []
    times: list[datetime] = []
    for name in names:
        item = read_item(job.output / SCENES / name / ITEM_FILE)
        times.append(datetime.fromisoformat(item["properties"]["datetime"]))
        if "bbox" in item:
            boxes.append(item["bbox"])
    extent = pystac.Extent(
        pystac.SpatialExtent([_enclose(boxes)]),
        pystac.TemporalExtent([[min(times, default=None), max(times, default=None)]]),
    )
    collection = pystac.Collection(
        id=job.output.name,
        description="Masks of " + ", ".join(f'"{sentence}"' for sentence in job.sentences),
        extent=extent,
        license="other",
    )
    for name in names:
        link = pystac.Link(
            pystac.RelType.ITEM, f"./{SCENES}/{name}/{ITEM_FILE}", pystac.MediaType.GEOJSON
        )
        collection.add_link(link)
    content = collection.to_dict(include_self_link=False, transform_hrefs=False)
    write_atomically(job.output / COLLECTION_FILE, json.dumps(content, indent=1))


def _enclose(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The box around boxes (west, south, east, north); the world around none."""
    if not boxes:
        return list(WORLD)
    corners = np.array(boxes)
    return [*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist()]
