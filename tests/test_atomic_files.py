"""Files that are written whole or not at all, by any number of writers."""

import multiprocessing
import os
import signal

import pytest

from cadformer_d2.atomic_files import replace_atomically


def test_two_writers_at_once_leave_one_of_their_files_whole(tmp_path):
    path = tmp_path / "a.json"
    with replace_atomically(path) as first, replace_atomically(path) as second:
        assert first != second and first.suffix == second.suffix == ".json"
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_atomically(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(OSError, match=r"a\.json could not be written"), replace_atomically(path):
        pass  # wrote nothing
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def write_half_and_be_killed(path):
    with replace_atomically(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "a.json"
    writer = multiprocessing.get_context("fork").Process(
        target=write_half_and_be_killed, args=(path,)
    )
    writer.start()
    writer.join()
    assert len(os.listdir(tmp_path)) == 1
    with replace_atomically(path) as temporary:
        with replace_atomically(path) as other:  # must not take a running writer's file
            other.write_text("other")
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["a.json"]
