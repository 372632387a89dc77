"""How commands end."""

import logging

import pytest
import torch
from torch._utils import ExceptionWrapper

from cadformer_d2.command_errors import run_command


def fail(error):
    raise error


def fail_in_a_worker(error):
    """As a DataLoader's worker process does, whose error arrives as a text."""
    try:
        try:
            raise error
        except ValueError as caught:
            raise type(caught)(*caught.args) from caught
    except Exception:
        ExceptionWrapper(where="in DataLoader worker process 0").reraise()


ERRORS = {
    "a.jpg cannot be read: it is cut": ValueError("a.jpg cannot be read:\n  it is cut"),
    "a.jpg is missing": FileNotFoundError("a.jpg is missing"),
    "no key a": KeyError("no key a"),
    "'utf-8' codec can't decode byte 0xff in position 0: no text": UnicodeDecodeError(
        "utf-8", b"\xff", 0, 1, "no text"
    ),
}


@pytest.mark.parametrize("message", ERRORS)
@pytest.mark.parametrize("main", [fail, fail_in_a_worker])
def test_an_error_is_one_line_from_a_worker_process_too(message, main):
    with pytest.raises(SystemExit) as caught:
        run_command(main, ERRORS[message])
    assert caught.value.code == f"error: {message}"


def test_memory_that_the_machine_lacks_is_one_line():
    with pytest.raises(SystemExit, match="error: CUDA out of memory"):
        run_command(fail, torch.OutOfMemoryError("CUDA out of memory. Tried 20 GiB"))
    with pytest.raises(SystemExit, match="error: .*memory"):
        run_command(torch.empty, 2**60)


def test_a_link_to_itself_is_one_line(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(SystemExit, match=r"error: .*loop\.png"):
        run_command((tmp_path / "loop.png").resolve, True)


def test_an_error_of_our_own_making_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(fail, RuntimeError("a bug"))


def test_an_interrupt_is_one_word_and_the_exit_status_of_shells(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(fail, KeyboardInterrupt())
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


class FullDisk(logging.Handler):
    def emit(self, record):
        try:
            raise OSError("No space left on device")
        except OSError:
            self.handleError(record)


def test_a_log_on_a_full_disk_does_not_bury_the_message(capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    log = logging.getLogger("test_command_errors")
    log.addHandler(FullDisk())
    run_command(log.error, "lost")
    assert capsys.readouterr().err == ""
