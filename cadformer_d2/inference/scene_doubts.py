"""What a user should know about a scene and an expression before trusting the map."""

from __future__ import annotations

from .raster import Scene
from .raster_segmentation import find_place_words

LARGEST_ROTATION = 20  # degrees; beyond it, "topmost" no longer means north


def doubts_of_places(expression: str, scene: Scene, num_tiles: int) -> list[str]:
    """Sentences about words for places that will not refer to the map of the whole scene."""
    words = find_place_words(expression)
    doubts = []
    if num_tiles > 1 and words:
        doubts.append(
            f"{', '.join(words)!r} will refer to each of {num_tiles} tiles, not to the scene; "
            "--mode whole segments the whole scene at once"
        )
    rotation = scene.placement.rotation
    if words and rotation > LARGEST_ROTATION:
        doubts.append(
            f"{scene.path} is turned by {rotation:.0f} degrees; {', '.join(words)!r} will refer to "
            "the file's rows and columns, not to the map"
        )
    return doubts


def doubts_of_placement(scene: Scene) -> list[str]:
    """Sentences about a georeference that is missing or less than a CRS and a transform."""
    placement = scene.placement
    if placement.gcps:
        return [f"{scene.path} is georeferenced by {len(placement.gcps)} ground control points"]
    if placement.crs is None and scene.dataset.rpcs is not None:
        return [
            f"{scene.path} is georeferenced by RPCs, which need heights: polygons will be in "
            "pixels, and the mask keeps the RPCs; gdalwarp -rpc makes a georeferenced raster"
        ]
    if placement.crs is None:
        return [f"{scene.path} has no CRS; polygons will be in pixels, x right and y down"]
    if not placement.is_on_earth:
        return [f"{scene.path} has a CRS without longitudes and latitudes; areas will be missing"]
    return []
