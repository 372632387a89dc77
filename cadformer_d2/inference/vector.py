"""Polygons on the map: GeoJSON and GeoPackage files. Needs the extra ``geo``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import written_whole
from .pieces import Piece

try:
    import pyogrio.errors
    import pyogrio.raw
    import shapely
    from rasterio.warp import transform as transform_points
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

DEGREE_DIGITS = 7  # a centimetre on the ground
DIGITS = 4  # of properties
EQUAL_AREA = "EPSG:6933"
LONGITUDE_LATITUDE = "EPSG:4326"
VECTOR_FORMATS = (".geojson", ".gpkg")
ROWS_AT_ONCE = 1000  # that are in memory

Table = dict[str, np.ndarray]  # columns of some polygons, with their geometry


def write_vector(
    pieces: Iterable[Piece],
    path: Path,
    *,
    transform: Any,
    crs: Any,
    properties: Mapping[str, str],
) -> int:
    """Write polygons: GeoJSON (RFC 7946, longitude and latitude) or GeoPackage in the scene's CRS.

    Without a CRS the coordinates are pixels, x right and y down, and areas in square metres are
    missing.

    Args:
        pieces: in pixels; consumed some at a time.
        path: ends in .geojson or .gpkg.
        transform: affine, from pixels to the CRS.
        crs: rasterio's; None: none is known.
        properties: given to every polygon, beside its own mean_probability, area_m2 and area_px.

    Returns:
        number of polygons.

    Raises:
        ValueError: another ending.
        OSError: the file could not be written.
    """
    refuse_other_format(path)
    tables = (
        table_of(some, transform=transform, crs=crs, properties=properties)
        for some in chunks(pieces)
    )
    with written_whole(path) as temporary:
        write = write_geojson if path.suffix == ".geojson" else write_geopackage
        return write(tables, temporary, crs)


def refuse_other_format(path: Path) -> None:
    if path.suffix not in VECTOR_FORMATS:
        raise ValueError(f"{path}: vectors are written as {' or '.join(VECTOR_FORMATS)}")


def chunks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Lists of pieces; the first may be empty, so that a file of none has its columns, too."""
    rest = iter(pieces)
    some = list(islice(rest, ROWS_AT_ONCE))
    yield some
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield some


def table_of(
    pieces: list[Piece], *, transform: Any, crs: Any, properties: Mapping[str, str]
) -> Table:
    """Polygons in the CRS, and their columns."""
    polygons = np.array([piece.polygon for piece in pieces], dtype=object)
    area = np.full(len(pieces), np.nan)
    if crs is not None:
        matrix = np.reshape(transform[:6], (2, 3))
        polygons = shapely.transform(polygons, lambda xy: xy @ matrix[:, :2].T + matrix[:, 2])
        area = shapely.area(reprojected(polygons, crs, EQUAL_AREA))
    counts = np.array([piece.num_pixels for piece in pieces], int)
    sums = np.array([piece.probability_sum for piece in pieces], float)
    return {
        **{key: np.array([value] * len(pieces), object) for key, value in properties.items()},
        "mean_probability": np.round(sums / counts, DIGITS),
        "area_m2": np.round(area, DIGITS),
        "area_px": counts,
        "geometry": polygons,
    }


def reprojected(polygons: np.ndarray, source: Any, target: str) -> np.ndarray:
    """Polygons of one CRS in another."""

    def moved(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transform_points(source, target, *points.T)[:2])

    return shapely.transform(polygons, moved)


def write_geojson(tables: Iterable[Table], path: Path, crs: Any) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for table in tables:
            for feature in features(table, crs):
                file.write(("," if count else "") + "\n" + json.dumps(feature, ensure_ascii=False))
                count += 1
        file.write("\n]}\n")
    return count


def features(table: Table, crs: Any) -> Iterator[dict[str, Any]]:
    """GeoJSON features of the rows; rings turn as the standard asks where a CRS is known."""
    polygons = table["geometry"]
    if crs is not None:
        polygons = reprojected(polygons, crs, LONGITUDE_LATITUDE)
        polygons = shapely.transform(polygons, lambda points: np.round(points, DEGREE_DIGITS))
        polygons = shapely.orient_polygons(polygons)
    names = [name for name in table if name != "geometry"]
    for row, polygon in enumerate(polygons):
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
                layer="referred",
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
