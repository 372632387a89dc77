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
from .connected_components import ConnectedComponent
from .placement import LONGITUDE_LATITUDE, Placement

try:
    import pyogrio
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
    components: Iterable[ConnectedComponent],
    path: Path,
    *,
    placement: Placement,
    properties: Mapping[str, str],
) -> int:
    """Write polygons: GeoJSON (RFC 7946, longitude and latitude) or GeoPackage in the scene's CRS.

    Without a CRS the coordinates are pixels, x right and y down. Areas in square metres are missing
    if the scene is not on earth. Other layers of an existing GeoPackage stay.

    Args:
        components: in pixels; consumed in chunks.
        path: ends in .geojson or .gpkg.
        placement: of the scene.
        properties: of every polygon, besides instance (a number from 1), mean_probability, area_m2
            and area_px. GeoJSON has the number of instances at its end as well.

    Returns:
        number of polygons.

    Raises:
        ValueError: another ending, or GeoJSON of a scene that is not on earth.
        OSError: the file could not be written.
    """
    refuse_impossible_vector(path, placement)
    in_degrees = path.suffix == ".geojson" and placement.crs is not None
    tables = make_tables(
        components, placement=placement, in_degrees=in_degrees, properties=properties
    )
    with replace_atomically(path) as temporary:
        if path.suffix == ".geojson":
            return _write_geojson(tables, temporary)
        if path.exists():
            shutil.copyfile(path, temporary)
        return write_geopackage(tables, temporary, crs=placement.crs)


def make_tables(
    components: Iterable[ConnectedComponent],
    *,
    placement: Placement,
    in_degrees: bool,
    properties: Mapping[str, str],
) -> Iterator[Table]:
    """Make the columns of polygons, some at a time; the first table may have no row.

    Args:
        in_degrees: polygons in longitude and latitude, not in the scene's CRS.
        properties: of every polygon.
    """
    first_instance = 1
    for some in _split_chunks(components):
        yield _make_table(
            some,
            placement=placement,
            in_degrees=in_degrees,
            properties=properties,
            first_instance=first_instance,
        )
        first_instance += len(some)


def refuse_impossible_vector(path: Path, placement: Placement) -> None:
    """Raise ValueError if a file with that ending cannot hold the scene's polygons."""
    if path.suffix not in VECTOR_FORMATS:
        raise ValueError(f"{path}: vectors are written as {' or '.join(VECTOR_FORMATS)}")
    if path.suffix == ".geojson" and placement.crs is not None and not placement.is_on_earth:
        raise ValueError(
            f"{path}: GeoJSON needs longitude and latitude, which the scene's CRS "
            f"({_crs_name(placement.crs)}) does not give; write a .gpkg, which keeps the CRS"
        )


def _crs_name(crs: Any) -> str:
    """The name inside a CRS's definition."""
    wkt = crs.to_wkt()
    return wkt.split('"')[1] if '"' in wkt else wkt


def _split_chunks(components: Iterable[ConnectedComponent]) -> Iterator[list[ConnectedComponent]]:
    """Split into lists; the first may be empty, so that a file without polygons has columns too."""
    rest = iter(components)
    some = list(islice(rest, ROWS_AT_ONCE))
    yield some
    while some := list(islice(rest, ROWS_AT_ONCE)):
        yield some


def _make_table(
    components: list[ConnectedComponent],
    *,
    placement: Placement,
    in_degrees: bool,
    properties: Mapping[str, str],
    first_instance: int,
) -> Table:
    """Make the columns of polygons as written; areas are those of the written polygons."""
    polygons = placement.polygons_to_crs(
        np.array([component.polygon for component in components], object)
    )
    crs = placement.crs
    if in_degrees and len(components):
        polygons, crs = placement.polygons_to_degrees(polygons), LONGITUDE_LATITUDE
    area = np.full(len(components), np.nan)
    if crs is not None and len(components):
        area = placement.measure_areas(polygons, crs)
    counts = np.array([component.num_pixels for component in components], int)
    sums = np.array([component.probability_sum for component in components], float)
    return {
        **{key: np.array([value] * len(components), object) for key, value in properties.items()},
        "instance": first_instance + np.arange(len(components)),
        "mean_probability": np.round(sums / counts, DIGITS),
        "area_m2": np.round(area, DIGITS),
        "area_px": counts,
        "geometry": polygons,
    }


def _write_geojson(tables: Iterable[Table], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for table in tables:
            for feature in _make_features(table):
                file.write(("," if count else "") + "\n" + json.dumps(feature, ensure_ascii=False))
                count += 1
        file.write(f'\n], "num_instances": {count}}}\n')
    return count


def _make_features(table: Table) -> Iterator[dict[str, Any]]:
    """GeoJSON features of the rows."""
    names = [name for name in table if name != "geometry"]
    for row, polygon in enumerate(table["geometry"]):
        values = {name: table[name][row] for name in names}
        yield {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(polygon),
            "properties": {name: _plain_value(value) for name, value in values.items()},
        }


def _plain_value(value: Any) -> Any:
    """Convert a value for JSON; a missing number becomes null."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value


def write_geopackage(
    tables: Iterable[Table],
    path: Path,
    *,
    crs: Any,
    geometry_type: str = "Polygon",
    changed: str | None = None,
) -> int:
    """Write or replace the layer of a GeoPackage, whose other layers stay.

    Args:
        crs: of the polygons, rasterio's or a text; None: pixels.
        changed: when the file says that it was changed, ISO 8601; None: now.

    Returns:
        number of rows.

    Raises:
        OSError: the file could not be written.
    """
    count = 0
    for number, table in enumerate(tables):
        polygons = table["geometry"]
        fields = {name: column for name, column in table.items() if name != "geometry"}
        with _report_write_failure(), _saying_changed(changed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")
            pyogrio.raw.write(
                str(path),
                geometry=shapely.to_wkb(polygons),
                field_data=list(fields.values()),
                fields=list(fields),
                layer=LAYER,
                driver="GPKG",
                geometry_type=geometry_type,
                promote_to_multi=geometry_type == "MultiPolygon",
                crs=getattr(crs, "to_wkt", lambda: crs)(),
                append=number > 0,
            )
        count += len(polygons)
    return count


@contextmanager
def _saying_changed(time: str | None) -> Iterator[None]:
    """Let a GeoPackage say that it was changed at this time."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": time})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


@contextmanager
def _report_write_failure() -> Iterator[None]:
    """Turn what pyogrio raises when a file cannot be written into an OSError."""
    try:
        yield
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OSError(str(error)) from error
