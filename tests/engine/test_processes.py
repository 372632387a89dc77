import atexit
from pathlib import Path

import pytest
from conftest import run_in_two_processes
from detectron2.utils import comm
from torch import nn

from cadformer_d2.engine.distributed import distributed

THREADS = Path("/proc/self/task")


def num_gloo_threads():
    names = [(thread / "comm").read_text() for thread in THREADS.iterdir()]
    return sum("gloo" in name for name in names)


def count_threads_at_exit(folder):
    model = distributed(nn.Linear(2, 2))
    model.itself = [model]  # as a trainer and its hooks refer to each other
    comm.gather(comm.get_rank())
    counted = Path(folder, f"rank{comm.get_rank()}")
    before = num_gloo_threads()
    atexit.register(lambda: counted.write_text(f"{before} {num_gloo_threads()}"))


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are counted in Linux's /proc")
def test_the_threads_of_a_process_group_end_before_python_does(tmp_path):
    run_in_two_processes(count_threads_at_exit, str(tmp_path))
    for rank in range(2):
        before, at_exit = map(int, (tmp_path / f"rank{rank}").read_text().split())
        assert before > 0
        assert at_exit == 0
