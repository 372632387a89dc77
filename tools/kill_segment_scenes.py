#!/usr/bin/env python3
"""Kill segment-scenes at random moments, let it go on, and compare with an uninterrupted run.

    python tools/kill_segment_scenes.py --weights output/quickstart/model_best.pth --times 10 \
        --output output/kills

Draws scenes, maps them once in one process, then, on two of Ray's test machines with a worker each,
kills the command, a worker, or a machine; a command that ended is called again. Needs the extras
``geo`` and ``cluster``. The table in the output folder says for each kind of kill: in how many runs
a byte differs, how many answers are there twice or half, and how many stored tiles were done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from tabulate import tabulate

from cadformer_d2.data.synthetic.mosaic import draw_mosaic_strips

KINDS = ("command", "worker", "machine")
EXPRESSIONS = ("the storage tank", "the swimming pool")
MEMORY = 80 * 2**20  # bytes of Ray's object store
PIXEL_METRES = 0.5


@dataclass
class Trial:
    """What one kill did."""

    kind: str
    at_seconds: float  # after the work began
    scenes_finished: int  # before the kill
    is_equal: bool
    twice_or_half: int  # answers too many, and work left over
    tiles_again: int  # that were stored, and segmented again


def draw_scenes(folder: Path, *, count: int, side: int) -> None:
    """Write GeoTIFFs of known objects, side by side on the map."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"scene{number:04d}.tif"
        if path.exists():
            continue
        strips = draw_mosaic_strips(size=(side, side), scene_size=96, seed=number)
        pixels = np.concatenate([strip for strip, _ in strips])
        east = 500_000 + number * side * PIXEL_METRES
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": side, "width": side}
        profile |= {"crs": "EPSG:32632", "tiled": True, "compress": "deflate"}
        profile |= {"transform": from_origin(east, 5_300_000, PIXEL_METRES, PIXEL_METRES)}
        with rasterio.open(path, "w", photometric="RGB", **profile) as scene:
            scene.write(pixels.transpose(2, 0, 1))


class Command:
    """``cadformer segment-scenes`` about the drawn scenes."""

    def __init__(self, scenes: Path, weights: str):
        self.line = [
            *(sys.executable, "-W", "ignore", "-m", "cadformer_d2", "segment-scenes"),
            *(str(scenes / "*.tif"), "--expression", *EXPRESSIONS, "--weights", weights),
            *("--device", "cpu", "--threads", "1", "--batch-size", "4"),
        ]
        self.running: subprocess.Popen | None = None

    def start(self, output: Path, *options: str) -> subprocess.Popen:
        output.parent.mkdir(parents=True, exist_ok=True)
        with (output.parent / "log.txt").open("a") as log:
            line = [*self.line, "--output", str(output), *options]
            self.running = subprocess.Popen(line, stdout=log, stderr=log)
            return self.running

    def stop(self) -> None:
        """End what still runs, after an interrupt."""
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait()

    def finish(self, output: Path, *options: str) -> int:
        """Run to the end; the number of tiles that it segmented.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        if status := self.start(output, *options).wait():
            raise subprocess.CalledProcessError(status, self.line)
        return tiles_of_last_run(output)


def tiles_of_last_run(output: Path) -> int:
    """What the command said when it ended."""
    return int(re.findall(r"polygons; (\d+) tiles", (output.parent / "log.txt").read_text())[-1])


def read_tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def finished(output: Path) -> int:
    return sum(1 for _ in output.glob("scenes/*"))


def stored_tiles(work: Path) -> int:
    """Whole records in a work folder, of all sentences' stores; those that all of them have."""
    stores = []
    for file in work.glob("tiles_*/tiles.bin"):
        content, record = file.read_bytes(), 5 + 96 * 96
        parts = [content[at : at + record] for at in range(0, len(content), record)]
        stores.append([len(part) == record and part[:1] == b"T" for part in parts])
    length = min(map(len, stores), default=0)
    return int(np.all([store[:length] for store in stores], axis=0).sum()) if length else 0


def working(output: Path) -> Iterator[tuple[Path, int]]:
    """Work folders with the process that works in each."""
    for lock in output.glob("unfinished/*/lock"):
        try:
            yield lock.parent, int(lock.read_text().split()[1])
        except (FileNotFoundError, IndexError):  # just begun, or just finished
            continue


class Machines:
    """Ray's test cluster: one machine that leads, two with a worker each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        leader = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self.cluster = Cluster(initialize_head=True, head_node_args=leader)
        self.others = [self._add(), self._add()]

    def _add(self) -> Any:
        return self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY)

    def lose_one(self, chance: random.Random) -> None:
        lost = self.others.pop(chance.randrange(2))
        self.cluster.remove_node(lost, allow_graceful=False)

    def complete(self) -> None:
        while len(self.others) < 2:
            self.others.append(self._add())


def kill_once(
    kind: str,
    command: Command,
    output: Path,
    machines: Machines,
    *,
    longest: float,
    chance: random.Random,
    total: int,
    num_scenes: int,
    reference: dict[str, bytes],
) -> Trial:
    """Start, kill within ``longest`` seconds of work, go on to the end, compare."""
    options = ("--engine", "ray", "--ray-address", machines.cluster.address, "--workers", "2")
    process = command.start(output, *options)
    while not (output / "unfinished").is_dir() and process.poll() is None:
        time.sleep(0.01)
    at = chance.uniform(0, longest)
    time.sleep(at)
    before, lost = finished(output), list(working(output))
    if kind == "command":
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for_end(pid for _, pid in lost)
        stored = finished(output) * total // num_scenes
        stored += sum(map(stored_tiles, output.glob("unfinished/*")))
    elif kind == "worker":
        lost = [chance.choice(lost)] if lost else []
        for _, pid in lost:
            os.kill(pid, signal.SIGKILL)
        wait_for_end(pid for _, pid in lost)
        stored = sum(stored_tiles(work) for work, _ in lost if work.is_dir())
    else:
        machines.lose_one(chance)
        alive = [pid for _, pid in lost if not os.path.exists(f"/proc/{pid}")]
        stored = sum(stored_tiles(work) for work, pid in lost if pid in alive and work.is_dir())
    again = 0
    if process.wait() == 0:
        again = tiles_of_last_run(output) + stored - total
    else:
        again = command.finish(output, *options) + stored - total
    machines.complete()
    extra = finished(output) - num_scenes + sum(1 for _ in output.glob("unfinished/*"))
    is_equal = read_tree(output) == reference
    return Trial(kind, round(at, 1), before, is_equal, extra, max(0, again))


def wait_for_end(processes: Iterator[int]) -> None:
    for pid in list(processes):
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.02)


def run_trials(arguments: argparse.Namespace, tell: Callable[[str], None]) -> list[Trial]:
    """All kills; those of an earlier call are not repeated."""
    root = arguments.output.resolve()
    draw_scenes(root / "drawn", count=arguments.scenes, side=arguments.side)
    command = Command(root / "drawn", arguments.weights)
    whole = root / "whole" / "answers"
    total = command.finish(whole) if not whole.exists() else tiles_of_last_run(whole)
    reference = read_tree(whole)
    record = root / "trials.json"
    trials = [Trial(**row) for row in json.loads(record.read_text())] if record.exists() else []
    chance = random.Random(len(trials))
    machines = Machines()
    try:
        free = root / "free" / "answers"
        shutil.rmtree(free.parent, ignore_errors=True)
        process = command.start(
            free, "--engine", "ray", "--ray-address", machines.cluster.address, "--workers", "2"
        )
        while not (free / "unfinished").is_dir() and process.poll() is None:
            time.sleep(0.01)
        start = time.monotonic()
        assert process.wait() == 0, f"see {free.parent / 'log.txt'}"
        longest = time.monotonic() - start
        assert read_tree(free) == reference, "Ray and one process give different bytes"
        for kind in arguments.kinds:
            for number in range(sum(t.kind == kind for t in trials), arguments.times):
                output = root / f"{kind}{number}" / "answers"
                shutil.rmtree(output.parent, ignore_errors=True)
                trial = kill_once(
                    kind, command, output, machines, longest=longest, chance=chance,
                    total=total, num_scenes=arguments.scenes, reference=reference,
                )  # fmt: skip
                trials.append(trial)
                record.write_text(json.dumps([asdict(trial) for trial in trials], indent=1))
                tell(str(trial))
                if trial.is_equal:
                    shutil.rmtree(output.parent)
    finally:
        command.stop()
        machines.cluster.shutdown()
    return trials


def summarize(trials: list[Trial]) -> str:
    rows: list[dict[str, Any]] = []
    for kind in dict.fromkeys(trial.kind for trial in trials):
        of_kind = [trial for trial in trials if trial.kind == kind]
        rows.append(
            {
                "killed": kind,
                "times": len(of_kind),
                "runs with another byte": sum(not trial.is_equal for trial in of_kind),
                "answers twice or half": sum(trial.twice_or_half for trial in of_kind),
                "stored tiles done again": sum(trial.tiles_again for trial in of_kind),
            }
        )
    return tabulate(rows, headers="keys", tablefmt="github")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="a model that sees 96 x 96 pixels")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--times", type=int, default=10, help="kills of each kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--side", type=int, default=300, help="of a scene, pixels")
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    arguments.weights = str(Path(arguments.weights).resolve())
    trials = run_trials(arguments, lambda text: print(text, flush=True))
    table = summarize(trials)
    (arguments.output / "table.md").write_text(table + "\n")
    print(table)
    if any(not t.is_equal or t.twice_or_half or t.tiles_again for t in trials):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
