"""The program: every command is found, says what it does, and unknown ones are answered kindly."""

import sys

import pytest

from cadformer_d2.commands import main as program
from cadformer_d2.version import __version__


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["cadformer", *words])
    program.main()


@pytest.mark.parametrize("name", program.BY_NAME)
def test_every_command_explains_its_arguments_under_its_own_name(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *name.split(), "--help")
    assert end.value.code in (0, None)
    assert capsys.readouterr().out.startswith(f"usage: cadformer {name} ")


def test_without_a_command_all_are_listed(monkeypatch, capsys):
    call(monkeypatch)
    listed = capsys.readouterr().out
    assert all(name in listed for name in program.BY_NAME)
    call(monkeypatch, "--version")
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("segment",), "segment-raster"),
        (("dataset", "chek"), "dataset check"),
        (("trian",), "train"),
    ],
)
def test_an_unknown_command_names_the_nearest(words, nearest, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and nearest in said and said.count("\n") == 1
