import atexit
import multiprocessing
import signal
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from conftest import run_in_two_processes
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from torch import nn

from cadformer_d2.engine import processes
from cadformer_d2.engine.distributed import wrap_distributed

THREADS = Path("/proc/self/task")


def num_gloo_threads():
    names = [(thread / "comm").read_text() for thread in THREADS.iterdir()]
    return sum("gloo" in name for name in names)


def count_threads_at_exit(folder):
    model = wrap_distributed(nn.Linear(2, 2))
    model.itself = [model]  # as a trainer and its hooks refer to each other
    comm.gather(comm.get_rank())
    counted = Path(folder, f"rank{comm.get_rank()}")
    before = num_gloo_threads()
    atexit.register(lambda: counted.write_text(f"{before} {num_gloo_threads()}"))


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are counted in Linux's /proc")
def test_the_threads_of_a_process_group_end_before_python_does(tmp_path):
    run_in_two_processes(count_threads_at_exit, str(tmp_path), start_method="spawn")
    for rank in range(2):
        before, at_exit = map(int, (tmp_path / f"rank{rank}").read_text().split())
        assert before > 0
        assert at_exit == 0


def test_a_line_is_said_once_by_all_processes_of_a_run(monkeypatch, capsys):
    store = dist.HashStore()
    monkeypatch.setattr(processes, "_get_default_store", lambda: store)
    processes.print_once("error: a")
    processes.print_once("error: b")
    assert capsys.readouterr().err == "error: a\n"


class ClosedStore:
    def add(self, *args):
        raise RuntimeError("Connection reset by peer")


def test_nothing_more_is_said_once_the_process_that_has_said_it_is_gone(monkeypatch, capsys):
    monkeypatch.setattr(processes, "_get_default_store", ClosedStore)
    processes.print_once("error: a")
    assert capsys.readouterr().err == ""


def lose_the_others():
    raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")


def be_interrupted():
    raise KeyboardInterrupt


ENDS = {lose_the_others: (1, "another process of the run has ended"), be_interrupted: (130, "")}


@pytest.mark.parametrize("main", ENDS)
def test_what_follows_from_another_processs_end_is_no_traceback(main, monkeypatch, capsys):
    monkeypatch.setattr(processes, "_get_default_store", dist.HashStore)
    with pytest.raises(SystemExit) as caught:
        processes.run_rank(main)
    code, said = ENDS[main]
    assert caught.value.code == code
    assert said in capsys.readouterr().err


def wait_for_others(is_deaf):
    signal.signal(signal.SIGINT, signal.SIG_IGN if is_deaf else signal.SIG_DFL)
    time.sleep(60)


def test_an_interrupt_of_the_first_process_ends_the_others(monkeypatch):
    monkeypatch.setattr(processes, "SECONDS_TO_END", 0.2)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=wait_for_others, args=(deaf,)) for deaf in (False, True)]

    def launch(*args, **options):
        for child in children:
            child.start()
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "launch", launch)
    arguments = default_argument_parser().parse_args(["--num-gpus", "2"])
    with pytest.raises(SystemExit) as caught:
        processes.run_in_processes(time.sleep, arguments, args=(0,))
    assert caught.value.code == 130
    assert not any(child.is_alive() for child in children)
