"""Segments one scene after the other with a model that stays loaded."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..command_errors import format_one_line
from ..inference.load_predictor import load_predictor, model_hash
from ..inference.mask_file import MaskFile
from ..inference.named_url import NamedUrl
from ..inference.raster import Scene, limited_cache
from ..inference.raster_segmentation import describe_job, segment_tiles_of_sentences
from ..inference.raster_source import open_source, source_identity
from ..inference.scene_doubts import doubts_of_placement, doubts_of_places
from ..inference.scene_targets import assemble_targets, choose_targets, weigh_answer
from ..inference.tile_store import TileStore
from ..inference.tiling import TileGrid
from ..inference.vector import Table, make_tables, write_geopackage
from .job import Job
from .source import SceneSource
from .stac_item import (
    ITEM_FILE,
    POLYGONS_FILE,
    find_time,
    format_time,
    make_item,
    mask_name,
    write_item,
)
from .work_folder import finish, open_work_folder

logger = logging.getLogger(__name__)

SCENES, UNFINISHED = "scenes", "unfinished"  # folders of the output
DEGREES = "EPSG:4326"


@dataclass(frozen=True)
class Outcome:
    """What became of a scene."""

    source: SceneSource
    name: str = ""  # of the folder with its answer; "": there is none
    error: str = ""  # why not, in one line
    details: str = ""  # of the error, for a developer
    doubts: tuple[str, ...] = ()  # of which the user should know
    num_tiles: int = 0  # that were segmented now
    num_pixels: int = 0  # of the scene, if it was segmented now
    seconds: float = 0.0


class SceneWorker:
    """Segments scenes, one at a time, whoever names them."""

    def __init__(self, job: Job):
        """
        Raises:
            ValueError: another checkpoint or another output folder than the other workers'.
            OSError: one of them cannot be read.
        """
        job.refuse_other_output()
        if (found := model_hash(job.weights)) != job.checkpoint:
            raise ValueError(f"{job.weights} has the hash {found}, not {job.checkpoint}")
        self.job = job
        self.predictor = load_predictor(
            job.weights,
            device=job.device,
            batch_size=job.batch_size,
            dtype=job.dtype,
            num_threads=job.num_threads or 0,
        )
        self.targets = [choose_targets(s, job.targets, self.predictor) for s in job.sentences]
        if job.is_compiled:
            self.predictor.compile()

    def segment(
        self, source: SceneSource, report: Callable[[int, int], None] | None = None
    ) -> Outcome:
        """Segment a scene, unless its answer is there already; an error becomes an outcome.

        Args:
            report: called with the numbers of tiles that are done and of all.
        """
        start = time.perf_counter()
        doubts: list[str] = []
        try:
            with limited_cache(), _allowed(source.path), _collect_warnings(doubts):
                name, num_tiles, num_pixels = self._segment(source, doubts, report)
        except Exception as error:  # of whatever kind: the other scenes shall not wait for a mend
            details = traceback.format_exc()
            return Outcome(
                source, error=format_one_line(error), details=details, doubts=tuple(doubts)
            )
        seconds = time.perf_counter() - start
        return Outcome(
            source,
            name=name,
            doubts=tuple(doubts),
            num_tiles=num_tiles,
            num_pixels=num_pixels,
            seconds=seconds,
        )

    def _segment(
        self,
        source: SceneSource,
        doubts: list[str],
        report: Callable[[int, int], None] | None,
    ) -> tuple[str, int, int]:
        """The answer's name, and how many tiles and pixels were segmented for it now."""
        job = self.job
        name = f"{source.stem}-{job.key(self._identify(source))}"
        final = job.output / SCENES / name
        if final.is_dir():
            return name, 0, 0
        with open_work_folder(job.output / UNFINISHED, name) as work:
            if final.is_dir():  # another worker was faster
                return name, 0, 0
            scene = Scene(source.path, bands=source.bands or job.bands, percentiles=job.percentiles)
            plan = job.tiles.plan(scene, self.predictor.input_size)
            grid = plan.grid(scene.size)
            doubts += doubts_of_placement(scene)
            for sentence in job.sentences:
                doubts += doubts_of_places(sentence, scene, len(grid))
            stores = [
                TileStore(
                    work / f"tiles_{number}",
                    job=describe_job(scene, plan, sentence=sentence, checkpoint=job.checkpoint),
                    num_tiles=len(grid),
                    shape=self.predictor.input_size,
                    resume=True,
                )
                for number, sentence in enumerate(job.sentences, start=1)
            ]
            num_tiles = self._fill(scene, grid, stores, report)
            made = work / "answer"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            counts = self._write_maps(source, scene, grid, stores, made)
            write_item(
                made / ITEM_FILE,
                make_item(
                    name,
                    source=source,
                    scene=scene,
                    job=job,
                    targets=self.targets,
                    counts=counts,
                ),
            )
            finish(made, final)
        return name, num_tiles, scene.size[0] * scene.size[1]

    def _identify(self, source: SceneSource) -> dict[str, Any]:
        """What the answer depends on that is the scene's own; reads no pixels."""
        dataset, files = open_source(source.path)
        dataset.close()
        identity = source_identity(source.path, files)
        return {**identity, "own_bands": source.bands and list(source.bands)}

    def _fill(
        self,
        scene: Scene,
        grid: TileGrid,
        stores: list[TileStore],
        report: Callable[[int, int], None] | None,
    ) -> int:
        """Segment the tiles that are missing; returns how many."""

        def segment(tiles: list[np.ndarray]) -> list[list[np.ndarray]]:
            answers = self.predictor.predict_each(tiles, self.job.sentences)
            return [
                [weigh_answer(answer, targets) for answer in of_sentence]
                for of_sentence, targets in zip(answers, self.targets, strict=True)
            ]

        count = 0
        there = int(np.all([store.is_done for store in stores], axis=0).sum())
        for new in segment_tiles_of_sentences(
            scene, grid, stores, segment, batch_size=self.job.batch_size
        ):
            count += new
            if report is not None:
                report(min(there + count, len(grid)), len(grid))
        return count

    def _write_maps(
        self,
        source: SceneSource,
        scene: Scene,
        grid: TileGrid,
        stores: list[TileStore],
        folder: Path,
    ) -> list[int]:
        """Write masks and polygons; returns the number of polygons of each sentence."""
        in_degrees = scene.placement.is_on_earth
        own_crs = None if scene.placement.crs is None else scene.placement.crs.to_wkt()
        time_text = format_time(find_time(source, scene))
        counts: list[int] = []

        def tables() -> Iterator[Table]:
            for number, (sentence, targets, store) in enumerate(
                zip(self.job.sentences, self.targets, stores, strict=True), start=1
            ):
                mask_file = MaskFile(scene, store.folder)
                components = assemble_targets(scene, grid, store, targets, mask_file)
                counts.append(0)
                for table in make_tables(
                    components, placement=scene.placement, in_degrees=in_degrees, properties={}
                ):
                    length = len(table["geometry"])
                    yield {
                        "scene": np.full(length, source.location, object),
                        "sentence": np.full(length, sentence, object),
                        "targets": np.full(length, targets, object),
                        "instance": np.arange(counts[-1] + 1, counts[-1] + length + 1),
                        "mean_probability": table["mean_probability"],
                        "area_m2": table["area_m2"],
                        "area_px": table["area_px"],
                        "checkpoint": np.full(length, self.job.checkpoint, object),
                        "time": np.full(length, time_text, object),
                        "geometry": table["geometry"],
                    }
                    counts[-1] += length
                mask_file.finish(folder / mask_name(number))

        write_geopackage(
            tables(),
            folder / POLYGONS_FILE,
            crs=DEGREES if in_degrees else own_crs,
            geometry_type="MultiPolygon",
            changed=time_text,
        )
        return counts


def _allowed(path: Path | NamedUrl) -> Any:
    return path.allowed() if isinstance(path, NamedUrl) else nullcontext()


@contextmanager
def _collect_warnings(texts: list[str]) -> Iterator[None]:
    """Add what the package logs as a warning to ``texts``, instead of showing it."""
    package = logging.getLogger(__name__.partition(".")[0])

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    collector = Collector(logging.WARNING)
    propagates, package.propagate = package.propagate, False
    package.addHandler(collector)
    try:
        with warnings.catch_warnings():
            # doubts_of_placement says it
            warnings.filterwarnings("ignore", "Dataset has no geotransform")
            yield
    finally:
        package.removeHandler(collector)
        package.propagate = propagates
