"""Large georeferenced rasters: read by windows, segmented tile by tile, written as maps.

The only file that opens GeoTIFFs. Memory does not grow with the scene: what the network says of a
tile lies in a file of its own until every tile is done, and the map is put together block by block.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import written_whole
from ..data.sentence_roles import PLACES
from .tiling import Window, blend, block_windows, tile_windows
from .vector import Piece, block_pieces, joined_pieces

# isort: split
# After vector, which says what to install where these are missing.
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.windows import Window as RasterWindow

logger = logging.getLogger(__name__)

MODES = ("tiles", "whole")
OVERVIEW_SIDE = 1024  # pixels of the reduced picture that the stretch is computed from
BLOCK_SIDE = 1024  # pixels of the scene that are put together at once
NODATA = 255  # of the mask: pixels where the scene has none
DEFAULT_PERCENTILES = (2.0, 98.0)

# From pixels (height, width, 3) uint8 RGB of several tiles to probabilities (height, width) in
# [0, 1] of each.
Segmenter = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class TilePlan:
    """How a scene is cut.

    Raises:
        ValueError: an unknown mode, or sizes that cannot be.
    """

    mode: str = "tiles"  # each tile is asked, or the whole scene, shrunk to the network's input
    tile: tuple[int, int] = (480, 480)  # (height, width) in pixels of the scene
    overlap: float = 0.25  # of neighbouring tiles, as a share of a tile, in [0, 1)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; known: {', '.join(MODES)}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap is {self.overlap}; a share of a tile is in [0, 1)")
        if min(self.tile) < 1:
            raise ValueError(f"a tile of {self.tile} pixels is none")

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """Tiles of a scene of (height, width) pixels."""
        if self.mode == "whole":
            return [Window(0, 0, *size)]
        overlap = (int(self.tile[0] * self.overlap), int(self.tile[1] * self.overlap))
        return tile_windows(size, self.tile, overlap)


class Scene:
    """A raster opened for reading, whose pixels come out as 8-bit RGB."""

    def __init__(
        self,
        path: Path,
        *,
        bands: tuple[int, ...] | None = None,
        percentiles: tuple[float, float] | None = None,
    ):
        """
        Args:
            path: anything GDAL reads.
            bands: three numbers, from 1, that serve as red, green and blue; None: 1, 2, 3, or the
                first for all three where there are fewer.
            percentiles: of each band that become black and white; None: 8-bit as it is, other
                types from the 2nd to the 98th.

        Raises:
            ValueError: not a raster, or bands it does not have.
        """
        try:
            self.dataset = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            raise ValueError(f"{path} cannot be opened as a raster: {error}") from error
        self.path = path
        self.bands = bands or ((1, 2, 3) if self.dataset.count >= 3 else (1, 1, 1))
        if len(self.bands) != 3 or not all(1 <= b <= self.dataset.count for b in self.bands):
            raise ValueError(
                f"bands are {self.bands}; three numbers from 1 to {self.dataset.count} are needed"
            )
        is_8_bit = all(self.dataset.dtypes[band - 1] == "uint8" for band in self.bands)
        if percentiles is None and not is_8_bit:
            percentiles = DEFAULT_PERCENTILES
        self.limits = None if percentiles is None else self.stretch_limits(percentiles)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.dataset.height, self.dataset.width

    @property
    def gsd(self) -> float | None:
        """Metres on the ground a pixel; None where the CRS does not say."""
        crs = self.dataset.crs
        if crs is None or not crs.is_projected:
            return None
        return abs(self.dataset.transform.a) * crs.linear_units_factor[1]

    def stretch_limits(self, percentiles: tuple[float, float]) -> np.ndarray:
        """Values (3, 2) of the bands that become black and white, from a reduced picture."""
        whole = Window(0, 0, *self.size)
        shrink = max(1.0, max(self.size) / OVERVIEW_SIDE)
        shape = (max(1, int(self.size[0] / shrink)), max(1, int(self.size[1] / shrink)))
        values = self.read_bands(whole, shape)
        is_valid = self.is_valid(whole, shape) & np.isfinite(values).all(axis=0)
        if not is_valid.any():
            raise ValueError(f"{self.path} has no valid pixel")
        return np.percentile(values[:, is_valid], percentiles, axis=1).T

    def read_bands(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """Values (3, height, width) of the chosen bands.

        Raises:
            OSError: the file is damaged there.
        """
        try:
            return self.dataset.read(
                self.bands,
                window=raster_window(window),
                out_shape=(3, *shape),
                resampling=Resampling.bilinear,
            )
        except rasterio.errors.RasterioIOError as error:
            raise OSError(f"{self.path} is damaged: {window} cannot be read ({error})") from error

    def is_valid(self, window: Window, shape: tuple[int, int]) -> np.ndarray:
        """(height, width) bool: neither nodata nor transparent."""
        return self.dataset.dataset_mask(window=raster_window(window), out_shape=shape) > 0

    def read(self, window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """
        Args:
            window: in pixels of the scene.
            shape: (height, width) to which it is resampled.

        Returns:
            RGB (height, width, 3) uint8, black where invalid, and validity (height, width) bool.
        """
        values = self.read_bands(window, shape).astype(np.float32)
        if self.limits is not None:
            low, high = self.limits[:, :1, None], self.limits[:, 1:, None]
            values = (values - low) / np.maximum(high - low, 1e-12) * 255
        is_valid = self.is_valid(window, shape) & np.isfinite(values).all(axis=0)
        values = np.where(is_valid, values, 0)
        pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)), is_valid


def raster_window(window: Window) -> RasterWindow:
    return RasterWindow(window.column, window.row, window.width, window.height)


class TileStore:
    """What the network said of each tile, one file a tile, written whole or not at all."""

    def __init__(self, folder: Path, *, job: dict[str, Any], resume: bool):
        """
        Args:
            folder: of the tiles of this job alone.
            job: what the tiles depend on.
            resume: whether tiles that are there may be kept.

        Raises:
            ValueError: tiles of this job are there and ``resume`` is not set, or those of another.
        """
        self.folder = folder
        description = folder / "job.json"
        if description.exists():
            if not resume:
                raise ValueError(
                    f"{folder} holds an unfinished run; go on with --resume, or delete it"
                )
            if json.loads(description.read_text()) != job:
                raise ValueError(f"{folder} holds tiles of another job; delete it to start anew")
            return
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(description) as path:
            path.write_text(json.dumps(job))

    def file(self, window: Window) -> Path:
        return self.folder / f"{window.row}_{window.column}.npy"

    def has(self, window: Window) -> bool:
        return self.file(window).exists()

    def put(self, window: Window, probability: np.ndarray) -> None:
        """Keep probabilities in [0, 1] as 8 bits."""
        with written_whole(self.file(window)) as path, path.open("wb") as file:
            np.save(file, np.rint(probability * 255).astype(np.uint8))

    def touching(self, block: Window, windows: Iterable[Window]) -> Iterator[tuple]:
        """Windows that touch a block, with their probabilities."""
        for window in windows:
            if window.overlap(block) is not None:
                yield window, np.load(self.file(window)).astype(np.float32) / 255

    def remove(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()


def segment_tiles(
    scene: Scene,
    windows: list[Window],
    store: TileStore,
    segment: Segmenter,
    *,
    network_size: tuple[int, int],
    batch_size: int = 1,
) -> Iterator[Window]:
    """Ask every tile that is not in the store; yields each window once it is there.

    Args:
        segment: from RGB pixels of several tiles at ``network_size`` to the probabilities of each.
        network_size: (height, width) to which tiles are resampled.
        batch_size: tiles asked at once, and the most that an interruption loses.
    """
    waiting: list[tuple[Window, np.ndarray, np.ndarray]] = []
    for number, window in enumerate(windows, start=1):
        if not store.has(window):
            pixels, is_valid = scene.read(window, network_size)
            waiting.append((window, pixels, is_valid))
        else:
            yield window
        if len(waiting) == batch_size or number == len(windows):
            yield from answered(waiting, store, segment)
            waiting = []


def answered(
    waiting: list[tuple[Window, np.ndarray, np.ndarray]], store: TileStore, segment: Segmenter
) -> Iterator[Window]:
    """Ask some tiles at once and store what is said; those without a valid pixel are not asked."""
    asked = [pixels for _, pixels, is_valid in waiting if is_valid.any()]
    answers = iter(segment(asked) if asked else [])
    for window, _, is_valid in waiting:
        probability = np.where(is_valid, next(answers), 0) if is_valid.any() else is_valid
        store.put(window, probability)
        yield window


def write_maps(
    scene: Scene, windows: list[Window], store: TileStore, mask_path: Path | None
) -> list[Piece]:
    """Put the tiles together: the mask as a Cloud-Optimized GeoTIFF, and its pieces.

    The mask has the scene's CRS, transform and size: 1 target, 0 not, 255 where the scene has no
    pixel.

    Args:
        mask_path: where the mask goes; None: only the pieces are wanted.

    Raises:
        OSError: the mask could not be written.
    """
    pieces: list[Piece] = []
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": scene.size[0],
        "width": scene.size[1],
        "crs": scene.dataset.crs,
        "transform": scene.dataset.transform,
        "nodata": NODATA,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    plain = store.folder / "mask.tif"
    with rasterio.open(plain, "w", **profile) as target:
        for block in block_windows(scene.size, BLOCK_SIDE):
            probability = blend(block, store.touching(block, windows))
            is_valid = scene.is_valid(block, (block.height, block.width))
            mask = (probability > 0.5) & is_valid
            values = np.where(is_valid, mask, NODATA).astype(np.uint8)
            target.write(values, 1, window=raster_window(block))
            pieces += block_pieces(block, mask, probability)
    if mask_path is not None:
        with written_whole(mask_path) as temporary:
            # Its overviews are made by the driver: nearest keeps a mask a mask.
            rasterio.shutil.copy(
                plain,
                temporary,
                driver="COG",
                compress="DEFLATE",
                overview_resampling="NEAREST",
            )
    return joined_pieces(pieces)


def tile_job(scene: Scene, plan: TilePlan, **identity: str) -> dict[str, Any]:
    """What the tiles of a run depend on, as JSON can hold it."""
    changed = scene.path.stat().st_mtime_ns
    limits = None if scene.limits is None else scene.limits.tolist()
    return {
        "scene": str(scene.path.resolve()),
        "changed": changed,
        "bands": list(scene.bands),
        "limits": limits,
        "plan": json.loads(json.dumps(asdict(plan))),
        **identity,
    }


def place_words(expression: str) -> list[str]:
    """Words of a sentence for a place in the picture, such as "upper left"."""
    return re.findall(rf"\b(?:{PLACES})\b", expression, re.IGNORECASE)
