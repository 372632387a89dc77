"""Masks -> polygons. Needs the extra ``geo``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import written_whole
from .tiling import Window

try:
    import pyogrio.raw
    import shapely
    import shapely.affinity
    from rasterio.features import geometry_mask, shapes
    from rasterio.transform import Affine
    from rasterio.warp import transform_geom
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps and polygons need the extra geo: "
        "pip install 'cadformer_d2[geo]'"
    ) from error

DEGREE_DIGITS = 7  # a centimetre on the ground
EQUAL_AREA = "EPSG:6933"
VECTOR_FORMATS = (".geojson", ".gpkg")


@dataclass(frozen=True)
class Piece:
    """A connected part of a mask, in pixels of the raster."""

    polygon: Any  # shapely Polygon, x right and y down
    num_pixels: int
    probability_sum: float


def mask_polygons(mask: np.ndarray) -> list[dict[str, Any]]:
    """Outlines of a mask's connected parts along pixel edges, as GeoJSON polygons in pixels.

    Args:
        mask: (height, width) bool.
    """
    values = mask.astype(np.uint8)
    return [shape for shape, _ in shapes(values, mask=mask, connectivity=4)]


def block_pieces(block: Window, mask: np.ndarray, probability: np.ndarray) -> list[Piece]:
    """The pieces of one block of a raster.

    Args:
        mask, probability: (block.height, block.width).
    """
    pieces = []
    for outline in mask_polygons(mask):
        polygon = shapely.geometry.shape(outline)
        left, top, right, bottom = (int(v) for v in polygon.bounds)
        inside = geometry_mask(
            [outline], (bottom - top, right - left), Affine.translation(left, top), invert=True
        )
        covered = probability[top:bottom, left:right][inside]
        moved = shapely.affinity.translate(polygon, block.column, block.row)
        pieces.append(Piece(moved, len(covered), float(covered.sum())))
    return pieces


def joined_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces of neighbouring blocks that share an edge, put together."""
    if not pieces:
        return []
    whole = shapely.union_all([piece.polygon for piece in pieces])
    polygons = list(shapely.get_parts(whole))
    tree = shapely.STRtree(polygons)
    totals = np.zeros((len(polygons), 2))
    for piece in pieces:
        (index, *_) = tree.query(piece.polygon.representative_point(), predicate="within")
        totals[index] += piece.num_pixels, piece.probability_sum
    return [
        Piece(polygon, int(count), float(total))
        for polygon, (count, total) in zip(polygons, totals, strict=True)
    ]


def write_vector(
    pieces: Iterable[Piece],
    path: Path,
    *,
    transform: Any,
    crs: Any,
    properties: Mapping[str, str],
) -> int:
    """Write polygons: GeoJSON (RFC 7946, longitude and latitude) or GeoPackage in the scene's CRS.

    Without a CRS the coordinates are pixels, x right and y down.

    Args:
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
    rows = []
    for piece in pieces:
        polygon = piece.polygon
        area = None
        if crs is not None:
            a, b, c, d, e, f = transform[:6]
            polygon = shapely.affinity.affine_transform(polygon, [a, b, d, e, c, f])
            mapped = transform_geom(crs, EQUAL_AREA, polygon)
            area = shapely.geometry.shape(mapped).area
        rows.append(
            {
                **properties,
                "mean_probability": piece.probability_sum / piece.num_pixels,
                "area_m2": area,
                "area_px": piece.num_pixels,
                "geometry": polygon,
            }
        )
    with written_whole(path) as temporary:
        write = write_geojson if path.suffix == ".geojson" else write_geopackage
        write(rows, temporary, crs)
    return len(rows)


def refuse_other_format(path: Path) -> None:
    if path.suffix not in VECTOR_FORMATS:
        raise ValueError(f"{path}: vectors are written as {' or '.join(VECTOR_FORMATS)}")


def write_geojson(rows: Sequence[Mapping[str, Any]], path: Path, crs: Any) -> None:

    features = []
    for row in rows:
        polygon = row["geometry"]
        if crs is not None:
            mapped = transform_geom(crs, "EPSG:4326", polygon, precision=DEGREE_DIGITS)
            # Outer rings counter-clockwise, as the standard asks.
            polygon = shapely.geometry.polygon.orient(shapely.geometry.shape(mapped))
        features.append(
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(polygon),
                "properties": {key: value for key, value in row.items() if key != "geometry"},
            }
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def write_geopackage(rows: Sequence[Mapping[str, Any]], path: Path, crs: Any) -> None:

    names = [key for key in rows[0] if key != "geometry"] if rows else []
    pyogrio.raw.write(
        str(path),
        geometry=np.array([shapely.to_wkb(row["geometry"]) for row in rows], dtype=object),
        field_data=[column([row[name] for row in rows]) for name in names],
        fields=names,
        layer="referred",
        driver="GPKG",
        geometry_type="Polygon",
        crs=None if crs is None else crs.to_wkt(),
    )


def column(values: Sequence[Any]) -> np.ndarray:
    """Values of one attribute; missing numbers are NaN."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], float)
