"""Polygons on the map: GeoJSON and GeoPackage files. Needs the extra ``geo``."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import replace_atomically
from .pieces import Piece
from .placement import LONGITUDE_LATITUDE, Placement

try:
    import pyogrio.errors
    import pyogrio.raw
    import shapely
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

DIGITS = 4  # of properties
LAYER = "referred"  # of a GeoPackage
VECTOR_FORMATS = (".geojson", ".gpkg")
ROWS_AT_ONCE = 1000  # that are in memory

Table = dict[str, np.ndarray]  # columns of some polygons, with their geometry


def write_vector(
    pieces: Iterable[Piece],
    path: Path,
    *,
    placement: Placement,
    properties: Mapping[str, str],
) -> int:
    """Write polygons: GeoJSON (RFC 7946, longitude and latitude) or GeoPackage in the scene's CRS.

    Without a CRS the coordinates are pixels, x right and y down; areas in square metres are missing
    where no place on earth is known. Other layers of a GeoPackage that is there stay.

    Args:
        pieces: in pixels; consumed some at a time.
        path: ends in .geojson or .gpkg.
        placement: of the scene.
        properties: given to every polygon, beside its own mean_probability, area_m2 and area_px.

    Returns:
        number of polygons.

    Raises:
        ValueError: another ending, or degrees are wanted of what lies nowhere on earth.
        OSError: the file could not be written.
    """
    refuse_impossible_vector(path, placement)
    in_degrees = path.suffix == ".geojson" and placement.crs is not None
    tables = (
        table_of(some, placement=placement, in_degrees=in_degrees, properties=properties)
        for some in chunks(pieces)
    )
    with replace_atomically(path) as temporary:
        if path.suffix == ".geojson":
            return write_geojson(tables, temporary)
        if path.exists():
            shutil.copyfile(path, temporary)
        return write_geopackage(tables, temporary, placement.crs)


def refuse_impossible_vector(path: Path, placement: Placement) -> None:
    """Raise ValueError where a file of that ending cannot hold polygons of such a scene."""
    if path.suffix not in VECTOR_FORMATS:
        raise ValueError(f"{path}: vectors are written as {' or '.join(VECTOR_FORMATS)}")
    if path.suffix == ".geojson" and placement.crs is not None and not placement.is_on_earth:
        raise ValueError(
            f"{path}: GeoJSON is in longitude and latitude, which the scene's CRS does not lead to "
            f"({crs_name(placement.crs)}); write a .gpkg, which keeps the CRS"
        )


def crs_name(crs: Any) -> str:
    """The name inside a CRS's definition."""
    wkt = crs.to_wkt()
    return wkt.split('"')[1] if '"' in wkt else wkt


def chunks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Lists of pieces; the first may be empty, so that a file of none has its columns, too."""
    rest = iter(pieces)
    some = list(islice(rest, ROWS_AT_ONCE))
    yield some
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield some


def table_of(
    pieces: list[Piece], *, placement: Placement, in_degrees: bool, properties: Mapping[str, str]
) -> Table:
    """Polygons as they are written, and their columns; areas are of what is written."""
    polygons = placement.polygons_in_crs(np.array([piece.polygon for piece in pieces], object))
    crs = placement.crs
    if in_degrees and len(pieces):
        polygons, crs = placement.polygons_in_degrees(polygons), LONGITUDE_LATITUDE
    area = np.full(len(pieces), np.nan)
    if crs is not None and len(pieces):
        area = placement.square_metres(polygons, crs)
    counts = np.array([piece.num_pixels for piece in pieces], int)
    sums = np.array([piece.probability_sum for piece in pieces], float)
    return {
        **{key: np.array([value] * len(pieces), object) for key, value in properties.items()},
        "mean_probability": np.round(sums / counts, DIGITS),
        "area_m2": np.round(area, DIGITS),
        "area_px": counts,
        "geometry": polygons,
    }


def write_geojson(tables: Iterable[Table], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for table in tables:
            for feature in features(table):
                file.write(("," if count else "") + "\n" + json.dumps(feature, ensure_ascii=False))
                count += 1
        file.write("\n]}\n")
    return count


def features(table: Table) -> Iterator[dict[str, Any]]:
    """GeoJSON features of the rows."""
    names = [name for name in table if name != "geometry"]
    for row, polygon in enumerate(table["geometry"]):
        values = {name: table[name][row] for name in names}
        yield {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(polygon),
            "properties": {name: plain_value(value) for name, value in values.items()},
        }


def plain_value(value: Any) -> Any:
    """As JSON can hold it; a missing number is null."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def write_geopackage(tables: Iterable[Table], path: Path, crs: Any) -> int:
    count = 0
    for number, table in enumerate(tables):
        polygons = table.pop("geometry")
        with reported_failure(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")
            pyogrio.raw.write(
                str(path),
                geometry=shapely.to_wkb(polygons),
                field_data=list(table.values()),
                fields=list(table),
                layer=LAYER,
                driver="GPKG",
                geometry_type="Polygon",
                crs=None if crs is None else crs.to_wkt(),
                append=number > 0,
            )
        count += len(polygons)
    return count


@contextmanager
def reported_failure() -> Iterator[None]:
    """Turn what pyogrio raises when a file cannot be written into an OSError."""
    try:
        yield
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(str(error)) from error
