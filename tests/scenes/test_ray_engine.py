"""Scenes on workers of Ray: the bytes of a local run, whatever dies meanwhile."""

import os
import signal
import threading
import time

import pytest
from command_process import CADFORMER, start
from many_scenes import SENTENCES, make_job, read_tree, save_tiny_model, write_scenes

from cadformer_d2.inference.tile_options import TileOptions
from cadformer_d2.scenes.collection import write_collection, write_table
from cadformer_d2.scenes.local_engine import segment_locally
from cadformer_d2.scenes.ray_engine import RayOptions, segment_on_ray
from cadformer_d2.scenes.source import SceneSource

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

TILES = TileOptions(tile=30, overlap=8)
NUM_TILES = 5 * 7  # of a scene
RECORD = 1 + 4 + 64 * 64  # bytes of a tile


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    save_tiny_model(folder, presence_threshold=0.0)  # "the tank" is one of a scene
    write_scenes(folder, 3)
    return folder


@pytest.fixture(scope="module")
def sources(files):
    return [SceneSource(str(path)) for path in sorted(files.glob("scene*.tif"))]


@pytest.fixture(scope="module")
def whole(files, sources):
    """The files of an uninterrupted local run."""
    job = make_job(files / "model.pth", files / "whole" / "out", tiles=TILES)
    return finish(job, sources, list(segment_locally(job, sources)))


def finish(job, sources, outcomes):
    """The files of a run, after its table and its collection."""
    assert [outcome.error for outcome in outcomes] == [""] * len(outcomes)
    by_source = {outcome.source: outcome.name for outcome in outcomes}
    names = [by_source[source] for source in sources]
    write_table(job, names, job.output / "results.gpkg")
    write_collection(job, names)
    assert not list((job.output / "unfinished").iterdir())
    return read_tree(job.output)


@pytest.fixture(scope="module")
def cluster():
    """Two machines with room for a worker each, and one that leads."""
    from ray.cluster_utils import Cluster

    leader = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    machines = Cluster(initialize_head=True, head_node_args=leader)
    machines.nodes = [
        machines.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)
    ]
    yield machines
    machines.shutdown()


class Killer(threading.Thread):
    """Calls ``kill(process id)`` once a worker has done some tiles of a scene."""

    def __init__(self, output, kill):
        super().__init__(daemon=True)
        self.output, self.kill, self.at = output, kill, None
        self.start()

    def run(self):
        while self.at is None:
            for tiles in self.output.glob("unfinished/*/tiles_1/tiles.bin"):
                try:
                    if tiles.stat().st_size > 3 * RECORD:
                        pid = int((tiles.parents[1] / "lock").read_text().split()[1])
                        self.at = tiles.stat().st_size // RECORD
                        self.kill(pid)
                        return
                except (FileNotFoundError, IndexError):  # finished meanwhile
                    continue
            time.sleep(0.002)


def test_workers_give_the_bytes_of_a_local_run_when_one_is_killed(
    files, sources, whole, cluster, tmp_path
):
    job = make_job(files / "model.pth", tmp_path / "out", tiles=TILES)
    killer = Killer(job.output, lambda pid: os.kill(pid, signal.SIGKILL))
    options = RayOptions(address=cluster.address, num_workers=2)
    outcomes = list(segment_on_ray(job, sources, retries=1, options=options))
    assert killer.at is not None and killer.at < NUM_TILES
    assert finish(job, sources, outcomes) == whole
    # What the killed worker had stored of both sentences was not done again.
    assert sum(outcome.num_tiles for outcome in outcomes) <= 3 * NUM_TILES - killer.at + 1


def test_a_broken_and_a_stuck_scene_do_not_hold_up_the_others(files, sources, cluster, tmp_path):
    os.mkfifo(tmp_path / "stuck.tif")  # GDAL waits for a writer
    (tmp_path / "torn.tif").write_bytes(b"II*\0")
    job = make_job(files / "model.pth", tmp_path / "out")
    named = [SceneSource(str(tmp_path / name)) for name in ("stuck.tif", "torn.tif")]
    options = RayOptions(address=cluster.address, num_workers=1, scene_seconds=10)
    outcomes = segment_on_ray(job, [*named, sources[0]], options=options)
    by_name = {outcome.source.stem: outcome for outcome in outcomes}
    assert by_name["stuck"].error == "it took longer than 10 s"
    assert "torn.tif cannot be opened as a raster" in by_name["torn"].error
    assert not by_name["scene0"].error


def test_what_is_wrong_with_the_job_ends_it_as_it_would_here(files, sources, cluster, tmp_path):
    job = make_job(files / "model.pth", tmp_path / "out", checkpoint="0" * 16)
    options = RayOptions(address=cluster.address, num_workers=1)
    with pytest.raises(ValueError, match="has the hash"):
        list(segment_on_ray(job, sources, options=options))
    assert not ray.is_initialized()


def test_a_machine_that_is_lost_costs_no_scene(files, sources, whole, cluster, tmp_path):
    job = make_job(files / "model.pth", tmp_path / "out", tiles=TILES)
    machine = cluster.nodes[0]
    killer = Killer(job.output, lambda _: cluster.remove_node(machine, allow_graceful=False))
    options = RayOptions(address=cluster.address, num_workers=2)
    outcomes = list(segment_on_ray(job, sources, retries=2, options=options))
    assert killer.at is not None
    assert finish(job, sources, outcomes) == whole


def test_after_a_kill_of_the_command_ray_ends_and_the_local_engine_goes_on(
    files, sources, whole, tmp_path
):
    output, errors = tmp_path / "out", tmp_path / "errors"
    line = [
        *("segment-scenes", *(source.location for source in sources)),
        *("--expression", *SENTENCES, "--weights", files / "model.pth", "--output", output),
        *("--tile", 30, "--overlap", 8, "--device", "cpu", "--engine", "ray", "--workers", 1),
    ]
    process = start(CADFORMER, *line, output=os.devnull, errors=errors)
    workers = []
    killer = Killer(output, lambda pid: (workers.append(pid), os.kill(process.pid, 9)))
    process.join(240)
    assert killer.at is not None, errors.read_text()
    for _ in range(600):  # Ray's worker ends with the process that it works for
        if not os.path.exists(f"/proc/{workers[0]}"):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlived the command")
    job = make_job(files / "model.pth", output, tiles=TILES)
    outcomes = list(segment_locally(job, sources))
    assert finish(job, sources, outcomes) == whole


def test_without_ray_the_extra_is_named(files, sources, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    job = make_job(files / "model.pth", tmp_path / "out")
    with pytest.raises(ImportError, match=r"cadformer_d2\[cluster\]"):
        next(segment_on_ray(job, sources))
