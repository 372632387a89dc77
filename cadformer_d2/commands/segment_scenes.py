"""Map what expressions refer to in many scenes.

    cadformer segment-scenes "scenes/*.tif" --expression "the storage tank" "the swimming pool" \\
        --weights model_best.pth --output answers

A source is a path, a quoted glob, a .txt file with one source a line, the URL of a Cloud-Optimized
GeoTIFF, or the path or URL of a STAC item, collection or item collection (.json, .geojson). The
output folder holds, for each scene, scenes/NAME-KEY/ with a mask for each expression, the polygons
and a STAC item; for all together, results.gpkg with every polygon and collection.json, a STAC
collection.

Called again, it goes on where it was, however it ended: what is there under a scene's key is not
done again. A scene that fails is reported at the end and written to failed.txt, which can be given
as a source; the others go on.

A model that can say what is not there answers "the storage tank" with one object of each scene, the
likeliest, and "all storage tanks" with all of them. --targets says what is meant by every
expression; of other models, which find something in every tile, it is all.

--engine ray segments on several workers of this machine, or, with --ray-address, of a cluster,
whose machines share the output folder.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ..atomic_files import write_atomically
from ..command_errors import at_least_one
from ..inference.load_predictor import model_hash
from ..inference.ready_model import find_ready_model

try:
    from ..inference.raster import limited_cache
    from ..scenes.collection import write_collection, write_table
    from ..scenes.job import Job
    from ..scenes.local_engine import segment_locally
    from ..scenes.ray_engine import RayOptions, segment_on_ray
    from ..scenes.source import SceneSource, find_sources
    from ..scenes.stac_source import StacReader
    from ..scenes.work_folder import remove_abandoned
    from ..scenes.worker import UNFINISHED, Outcome
    from .raster_options import add_raster_options, add_weights_option, positive, tile_options
except ImportError as error:
    raise SystemExit(f"error: {error}") from error

TABLE, FAILED = "results.gpkg", "failed.txt"
MOST_SHOWN = 20  # failures and doubts


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="+", help="path, glob, list (.txt), URL, STAC (.json)")
    parser.add_argument(
        "--expression", nargs="+", required=True, help="what is looked for, one or several"
    )
    add_weights_option(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument(
        "--table", type=Path, help=f".gpkg for all polygons; default: OUTPUT/{TABLE}"
    )
    parser.add_argument(
        "--retries", type=int, default=2, help="of a scene that failed; default: %(default)s"
    )
    add_raster_options(parser)
    parser.add_argument("--asset", help="of STAC items; default: their only GeoTIFF")
    parser.add_argument(
        "--band-names", nargs=3, help="of red, green, blue, as STAC items name them"
    )
    parser.add_argument(
        "--engine",
        default="local",
        choices=("local", "ray"),
        help="in this process, or on workers by Ray (extra cluster); default: %(default)s",
    )
    parser.add_argument(
        "--threads",
        type=at_least_one,
        help="of a worker on a CPU; default: torch's choice, with Ray 1",
    )
    parser.add_argument(
        "--ray-address", help="of a cluster to join; default: Ray is started on this machine"
    )
    parser.add_argument(
        "--workers", type=at_least_one, help="of Ray; default: as many as its CPUs or GPUs carry"
    )
    parser.add_argument(
        "--scene-timeout",
        type=positive(float),
        metavar="SECONDS",
        help="after which a scene has failed, with Ray; default: never",
    )
    return parser.parse_args()


def _make_job(arguments: argparse.Namespace) -> Job:
    """
    Raises:
        ValueError: options have no effect or contradict each other.
    """
    if arguments.retries < 0:
        raise ValueError(f"--retries is {arguments.retries}; it must be at least 0")
    if arguments.table and arguments.table.suffix != ".gpkg":
        raise ValueError(f"{arguments.table}: the table is written as .gpkg")
    for option in ("ray_address", "workers", "scene_timeout"):
        if arguments.engine == "local" and getattr(arguments, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} has no effect without --engine ray")
    if len(set(arguments.expression)) < len(arguments.expression):
        raise ValueError("an expression is given twice")
    for expression in arguments.expression:
        if not expression.strip():
            raise ValueError("an expression is empty")
    weights = str(arguments.weights or find_ready_model())
    if Path(weights).exists():
        weights = str(Path(weights).resolve())
    return Job(
        sentences=tuple(arguments.expression),
        weights=weights,
        checkpoint=model_hash(weights),
        output=arguments.output.resolve(),
        targets=arguments.targets,
        tiles=tile_options(arguments),
        bands=tuple(arguments.bands) if arguments.bands else None,
        percentiles=tuple(arguments.stretch) if arguments.stretch else None,
        device=arguments.device,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        is_compiled=arguments.compile,
        num_threads=arguments.threads,
    )


@dataclass
class Tally:
    """What became of the scenes so far."""

    names: dict[SceneSource, str] = field(default_factory=dict)  # of the answers
    failures: dict[SceneSource, str] = field(default_factory=dict)
    num_new: int = 0
    num_tiles: int = 0  # segmented now
    num_pixels: int = 0
    num_doubts: int = 0

    def add(self, outcome: Outcome) -> None:
        if outcome.error:
            self.failures[outcome.source] = outcome.error
        else:
            self.names[outcome.source] = outcome.name
        self.num_new += bool(outcome.num_pixels)
        self.num_tiles += outcome.num_tiles
        self.num_pixels += outcome.num_pixels

    def ordered_names(self, sources: Iterable[SceneSource]) -> list[str]:
        """The answers in the order in which the scenes were named; each once."""
        return list(dict.fromkeys(self.names[s] for s in sources if s in self.names))


def _follow(outcomes: Iterator[Outcome], tally: Tally, progress: tqdm, log: logging.Logger) -> None:
    for outcome in outcomes:
        tally.add(outcome)
        for doubt in outcome.doubts:
            tally.num_doubts += 1
            if tally.num_doubts <= MOST_SHOWN:
                progress.write(f"warning: {doubt}", file=sys.stderr)
        if outcome.error:
            log.debug("%s: %s\n%s", outcome.source.location, outcome.error, outcome.details)
        progress.set_postfix_str(f"{len(tally.failures)} failed" if tally.failures else "")
        progress.update()


def _tile_reporter(progress: tqdm) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress.set_postfix_str(f"tile {done} of {total}")

    return report


def _start_engine(
    arguments: argparse.Namespace, job: Job, sources: list[SceneSource], progress: tqdm
) -> Iterator[Outcome]:
    """What becomes of the scenes, as it happens."""
    if arguments.engine == "local":
        return segment_locally(
            job, sources, retries=arguments.retries, report=_tile_reporter(progress)
        )
    options = RayOptions(
        address=arguments.ray_address or "",
        num_workers=arguments.workers,
        scene_seconds=arguments.scene_timeout,
    )
    return segment_on_ray(job, sources, retries=arguments.retries, options=options)


def _find_sources(arguments: argparse.Namespace) -> list[SceneSource]:
    """The scenes, in order.

    Raises:
        ValueError: none, or options that have no effect.
    """
    names = tuple(arguments.band_names) if arguments.band_names else None
    if names and arguments.bands:
        raise ValueError("--bands and --band-names contradict each other")
    read_stac = StacReader(asset=arguments.asset, band_names=names)
    sources = find_sources(arguments.source, read_stac)
    if (names or arguments.asset) and not read_stac.places:
        raise ValueError("--asset and --band-names have no effect: no source is a STAC document")
    return sources


def _segment(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    job = _make_job(arguments)
    sources = _find_sources(arguments)
    job.prepare_output()
    remove_abandoned(job.output / UNFINISHED)
    tally = Tally()
    log = logging.getLogger(__name__)
    with tqdm(total=len(sources), unit="scene") as progress:
        _follow(_start_engine(arguments, job, sources, progress), tally, progress, log)
    if tally.num_doubts > MOST_SHOWN:
        print(f"warning: {tally.num_doubts - MOST_SHOWN} more were not shown", file=sys.stderr)
    names = tally.ordered_names(sources)
    table = arguments.table or job.output / TABLE
    num_polygons = write_table(job, names, table)
    write_collection(job, names)
    seconds = time.perf_counter() - start
    print(
        f"{len(names)} scenes ({len(names) - tally.num_new} were there), {num_polygons} polygons; "
        f"{tally.num_tiles} tiles, {tally.num_pixels / 1e6:.1f} megapixels in {seconds:.0f} s, "
        f"{tally.num_pixels / 1e6 / seconds:.2f} a second; written: {table}"
    )
    _report_failures(tally, job.output / FAILED)


def _report_failures(tally: Tally, file: Path) -> None:
    """Write the scenes that failed to a list, and say why.

    Raises:
        SystemExit: there are some.
    """
    if not tally.failures:
        file.unlink(missing_ok=True)
        return
    write_atomically(file, "".join(f"{source.location}\n" for source in tally.failures))
    for source, error in list(tally.failures.items())[:MOST_SHOWN]:
        print(f"failed: {source.location}: {error}", file=sys.stderr)
    raise SystemExit(
        f"error: {len(tally.failures)} of {len(tally.failures) + len(tally.names)} scenes failed; "
        f"{file} lists them and can be given as a source"
    )


def main() -> None:
    arguments = _parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    try:
        with limited_cache():
            _segment(arguments)
    except KeyboardInterrupt:
        print("finished scenes and tiles are kept; call it again to go on", file=sys.stderr)
        raise
