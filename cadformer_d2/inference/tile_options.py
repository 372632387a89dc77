"""What a user may say about tiles, and the plan that follows from it for a scene."""

from __future__ import annotations

from dataclasses import dataclass

from .raster import Scene
from .raster_segmentation import TilePlan

DEFAULT_OVERLAP = 0.25  # of a tile
SMALLEST_TILE = 8  # pixels of the scene; a smaller tile has hardly more than one colour


@dataclass(frozen=True)
class TileOptions:
    """Tiles as asked for; None leaves the choice to the network and the scene.

    Raises:
        ValueError: options have no effect.
    """

    mode: str = "tiles"
    tile: int | None = None  # side in pixels of the scene
    gsd: float | None = None  # metres on the ground a pixel that the network sees
    overlap: int | None = None  # of tiles, pixels of the scene

    def __post_init__(self) -> None:
        if self.mode == "whole" and (self.tile or self.gsd or self.overlap is not None):
            raise ValueError("--mode whole has no tiles; remove --tile, --gsd and --overlap")

    def plan(self, scene: Scene, network_size: tuple[int, int]) -> TilePlan:
        """Plan the tiles of a scene.

        Args:
            network_size: (height, width) of the network's input, pixels.

        Raises:
            ValueError: the scene has no metres, or the tiles cannot be.
        """
        if self.mode == "whole":
            return TilePlan(mode="whole")
        height, width = network_size
        if self.tile:
            height, width = self.tile, self.tile
        if self.gsd:
            height, width = self._tile_of_gsd(self.gsd, scene, network_size)
        if self.overlap is None:
            overlap = (int(height * DEFAULT_OVERLAP), int(width * DEFAULT_OVERLAP))
        else:
            overlap = (self.overlap, self.overlap)
        return TilePlan(mode=self.mode, tile=(height, width), overlap=overlap)

    @staticmethod
    def _tile_of_gsd(gsd: float, scene: Scene, network_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels of the scene of what the network sees at once."""
        metres = scene.placement.pixel_metres
        if metres is None:
            raise ValueError(
                f"{scene.path} has no CRS that gives metres on the ground, which --gsd needs; use "
                "--tile"
            )
        height, width = (
            round(length * gsd / of_a_pixel)
            for length, of_a_pixel in zip(network_size, metres, strict=True)
        )
        if min(height, width) < SMALLEST_TILE:
            raise ValueError(
                f"--gsd {gsd} gives tiles of {height} x {width} pixels of "
                f"{metres[0]:.3g} x {metres[1]:.3g} m; at least {SMALLEST_TILE} are needed"
            )
        return height, width
