"""OUTPUT_DIR has one training at a time, and failures to write name it."""

import errno
import multiprocessing
import os
import time

import pytest

from cadformer_d2.engine.output_folder import lock_folder, name_folder_in_errors


def hold_and_stay(folder, is_held):
    lock_folder(folder)
    if os.fork():  # the other one is as a loader's worker process, which lives on for a while
        is_held.set()
    time.sleep(1)


def test_a_second_run_is_refused_until_the_first_has_ended_even_killed(tmp_path):
    folder = tmp_path / "out"
    fork = multiprocessing.get_context("fork")
    is_held = fork.Event()
    first = fork.Process(target=hold_and_stay, args=(folder, is_held))
    first.start()
    is_held.wait()
    with pytest.raises(ValueError, match=rf"out is being written by process {first.pid} on "):
        lock_folder(folder)
    first.kill()
    first.join()
    lock_folder(folder)
    lock_folder(folder)  # its own folder again, as a run that goes on in the same process


def test_a_folder_that_cannot_be_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/out"):
        lock_folder(tmp_path / "file" / "out")


def test_a_write_that_does_not_say_where_it_failed_gets_its_folder_named():
    with pytest.raises(OSError, match=r"^cannot write to out .*No space.* --resume"):
        with name_folder_in_errors("out"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError, match="a.jpg"), name_folder_in_errors("out"):
        raise FileNotFoundError(errno.ENOENT, "missing", "a.jpg")
