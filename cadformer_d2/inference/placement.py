"""Georeference of a raster, and areas on the ground. Needs the extra ``geo``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import shapely
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.transform import Affine, GCPTransformer, from_gcps
    from rasterio.warp import transform as transform_points
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; maps need the extra geo: pip install 'cadformer_d2[geo]'"
    ) from error

LONGITUDE_LATITUDE = "EPSG:4326"
# The ellipsoid WGS 84.
EQUATOR_RADIUS, ECCENTRICITY_SQUARED = 6_378_137.0, 0.00669437999014
METRES_A_DEGREE = 111_320.0  # of latitude, and of longitude at the equator
PARTS_OF_A_PIXEL = 100  # precision of the coordinates in a GeoJSON file
FEWEST_DIGITS, MOST_DIGITS = 7, 15


@dataclass(frozen=True)
class Placement:
    """From pixels (column, row) of a raster to its CRS, to degrees and to square metres."""

    crs: Any  # rasterio's; None: unknown, coordinates are pixels
    transform: Affine  # from pixels to the CRS; with ground control points, the best fit
    size: tuple[int, int]  # (height, width) of the raster, pixels
    gcps: tuple[Any, ...] = ()  # rasterio's, if they replace the transform

    @classmethod
    def from_dataset(cls, dataset: Any) -> Placement:
        """
        Raises:
            ValueError: the raster's transform or ground control points are unusable.
        """
        size = (dataset.height, dataset.width)
        points, points_crs = dataset.gcps
        if dataset.crs is None and points and points_crs is not None:
            try:
                placement = cls(points_crs, from_gcps(points), size, tuple(points))
                placement.to_crs([(0, 0)])
            except (RasterioError, CPLE_BaseError, ValueError) as error:
                raise ValueError(
                    f"{dataset.name} has {len(points)} ground control points that are unusable "
                    f"({error}); at least three that are not on one line are needed"
                ) from error
            return placement
        transform = dataset.transform
        if not np.isfinite(transform[:6]).all() or transform.determinant == 0:
            raise ValueError(
                f"{dataset.name} has an unusable geotransform ({tuple(transform[:6])}); set "
                "another, for example with gdal_edit.py -a_ullr"
            )
        return cls(dataset.crs, transform, size)

    @property
    def is_on_earth(self) -> bool:
        """Whether its corners and its middle have a longitude and a latitude.

        False for the local grid of a building site, on another planet, and if the scene reaches
        outside the area of its projection.
        """
        height, width = self.size
        corners = [(0, 0), (width, 0), (0, height), (width, height), (width / 2, height / 2)]
        try:
            return self.crs is not None and bool(np.isfinite(self.to_degrees(corners)).all())
        except ValueError:
            return False

    @property
    def middle(self) -> np.ndarray:
        """(longitude, latitude) of the raster's middle."""
        return self.to_degrees([(self.size[1] / 2, self.size[0] / 2)])[0]

    def to_crs(self, pixels: Sequence | np.ndarray) -> np.ndarray:
        """Convert (column, row), at pixel edges, to CRS coordinates (n, 2)."""
        points = np.asarray(pixels, float)
        if self.gcps:
            with GCPTransformer(list(self.gcps)) as transformer:
                x, y = transformer.xy(points[:, 1], points[:, 0], offset="ul")
            return np.column_stack([x, y])
        matrix = np.reshape(self.transform[:6], (2, 3))
        return points @ matrix[:, :2].T + matrix[:, 2]

    def to_degrees(self, pixels: Sequence | np.ndarray) -> np.ndarray:
        """Convert (column, row) to longitude and latitude (n, 2)."""
        return _reproject(self.to_crs(pixels), self.crs, LONGITUDE_LATITUDE)

    @property
    def pixel_metres(self) -> tuple[float, float] | None:
        """(height, width) of the middle pixel on the ground, metres; None if it is not on earth.

        Not the CRS's units: a web map's unit is not a metre on the ground, nor is a degree.
        """
        if not self.is_on_earth:
            return None
        row, column = self.size[0] / 2, self.size[1] / 2
        here, below, beside = np.radians(
            self.to_degrees([(column, row), (column, row + 1), (column + 1, row)])
        )
        shrink = 1 - ECCENTRICITY_SQUARED * math.sin(here[1]) ** 2
        # Metres a radian to the east and to the north.
        east = EQUATOR_RADIUS / math.sqrt(shrink) * math.cos(here[1])
        north = EQUATOR_RADIUS * (1 - ECCENTRICITY_SQUARED) / shrink**1.5
        steps = np.array([below, beside]) - here
        steps[:, 0] = (steps[:, 0] + math.pi) % (2 * math.pi) - math.pi  # over the antimeridian
        height, width = np.hypot(*(steps * (east, north)).T)
        return float(height), float(width)

    @property
    def is_upside_down(self) -> bool:
        """Whether rows of the raster run from south to north."""
        turned, step = self.transform.b, self.transform.e * self._axis_sign
        return self._has_axes and abs(step) > abs(turned) and step > 0

    @property
    def is_mirrored(self) -> bool:
        """Whether columns of the raster run from east to west."""
        turned, step = self.transform.d, self.transform.a * self._axis_sign
        return self._has_axes and abs(step) > abs(turned) and step < 0

    @property
    def _has_axes(self) -> bool:
        """Whether north is known; a raster without a transform has only pixel axes."""
        return self.crs is not None and not self.transform.is_identity

    @property
    def _axis_sign(self) -> int:
        """-1 if the CRS counts to the west and south, as South Africa's do; else 1."""
        return -1 if self.crs is not None and self.crs.to_dict().get("axis") == "wsu" else 1

    @property
    def rotation(self) -> float:
        """Degrees by which rows are turned against the CRS's axes, in [0, 90]."""
        return math.degrees(math.atan2(abs(self.transform.d), abs(self.transform.a)))

    def polygons_to_crs(self, polygons: np.ndarray) -> np.ndarray:
        """Convert polygons from pixels to the CRS."""
        return polygons if self.crs is None else shapely.transform(polygons, self.to_crs)

    def polygons_to_degrees(self, polygons: np.ndarray) -> np.ndarray:
        """Convert polygons from the CRS to longitude and latitude as RFC 7946 requires.

        They are valid, rounded to a fraction of a pixel, counter-clockwise, and cut at the
        antimeridian.
        """
        middle = self.middle[0]

        def convert(points: np.ndarray) -> np.ndarray:
            longitude, latitude = _reproject(points, self.crs, LONGITUDE_LATITUDE).T
            # Near the middle of the scene, so that a polygon across the antimeridian stays one.
            near = (longitude - middle + 180) % 360 - 180 + middle
            return np.column_stack([near, np.clip(latitude, -90, 90)])

        exact = shapely.transform(polygons, convert)
        digits = self._degree_digits
        rounded = shapely.transform(exact, lambda points: np.round(points, digits))
        whole = np.where(shapely.is_valid(rounded), rounded, exact)
        return np.array([_cut_at_antimeridian(_make_valid(polygon)) for polygon in whole], object)

    @property
    def _degree_digits(self) -> int:
        """Decimal digits of a degree that resolve ``PARTS_OF_A_PIXEL``."""
        metres = self.pixel_metres
        assert metres is not None, "a scene without a place on earth has no degrees"
        step = max(min(metres), 1e-9) / PARTS_OF_A_PIXEL / METRES_A_DEGREE
        return min(MOST_DIGITS, max(FEWEST_DIGITS, math.ceil(-math.log10(step))))

    def measure_areas(self, polygons: np.ndarray, crs: Any) -> np.ndarray:
        """Areas in square metres on the ground of polygons in a CRS; NaN if not on earth.

        Uses a cylindrical equal-area projection around the scene's own meridian, far from the
        antimeridian.
        """
        if not self.is_on_earth:
            return np.full(len(polygons), np.nan)
        equal_area = f"+proj=cea +lat_ts=30 +lon_0={self.middle[0]:.6f} +datum=WGS84 +units=m"
        area = shapely.area(
            shapely.transform(polygons, lambda points: _reproject(points, crs, equal_area))
        )
        return np.where(np.isfinite(area), area, np.nan)


def _reproject(points: np.ndarray, source: Any, target: Any) -> np.ndarray:
    """Convert points (n, 2) from one CRS to another.

    Raises:
        ValueError: there is no conversion, for example between two planets.
    """
    try:
        return np.column_stack(transform_points(source, target, *np.transpose(points))[:2])
    except (RasterioError, CPLE_BaseError) as error:
        raise ValueError(f"the scene's CRS cannot be converted to {target} ({error})") from error


def _make_valid(polygon: Any) -> Any:
    """Make a valid polygon or multipolygon of the same area."""
    if polygon.is_valid:
        return polygon
    parts = [part for part in shapely.get_parts(shapely.make_valid(polygon)) if part.area > 0]
    return shapely.union_all(parts)


def _cut_at_antimeridian(polygon: Any) -> Any:
    """Move the part beyond 180 degrees to the other side, as a polygon of its own."""
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return shapely.orient_polygons(polygon)
    parts = []
    for turn in (-360, 0, 360):
        inside = shapely.intersection(polygon, shapely.box(-180 - turn, -91, 180 - turn, 91))
        shifted = shapely.transform(inside, lambda points, by=turn: points + (by, 0))
        parts += [part for part in shapely.get_parts(shifted) if part.area > 0]
    return shapely.orient_polygons(shapely.multipolygons(_flatten(parts)))


def _flatten(parts: list[Any]) -> list[Any]:
    return [single for part in parts for single in shapely.get_parts(part)]
