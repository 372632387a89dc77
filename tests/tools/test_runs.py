"""What the commands that train and score several models reuse, and what they do again."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def runs(monkeypatch):
    """The module, whose evaluations write the name of the checkpoint as their metrics."""
    from cadformer_d2.commands import runs

    def evaluate(*command, fails=False):
        options = dict(zip(command[4::2], command[5::2], strict=True))
        folder = Path(options["OUTPUT_DIR"])
        for name in ast.literal_eval(options["DATASETS.TEST"]):
            runs.evaluated.append(name)
            metrics = {"of": Path(options["MODEL.WEIGHTS"]).read_text()}
            (folder / f"metrics_{name}.json").write_text(json.dumps(metrics))
        if fails:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(runs, "call", evaluate)
    monkeypatch.setattr(runs, "evaluated", [], raising=False)
    return runs


SCRIPT = """
import os, sys
print(sys.argv[1:], os.environ["GIVEN"], os.environ["BOTH"], os.getcwd())
sys.exit("no room") if "fail" in sys.argv else None
"""


def test_a_command_is_called_with_its_log_and_environment(monkeypatch, tmp_path, capfd):
    from cadformer_d2.commands import runs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOTH", "the caller's")
    (tmp_path / "a script.py").write_text(SCRIPT)
    monkeypatch.setattr(runs, "PROGRAM", (sys.executable, str(tmp_path / "a script.py")))
    log = tmp_path / "log.txt"
    options = {"environment": {"GIVEN": "given", "BOTH": "given"}}
    said = f"['a b', '{{}}'] given the caller's {tmp_path}\n"
    runs.call("a b", "c", log=log, **options)
    with pytest.raises(subprocess.CalledProcessError):
        runs.call("a b", "fail", log=log, **options)
    assert log.read_text() == said.format("c") + said.format("fail") + "no room\n"
    runs.call("a b", "c", **options)
    assert capfd.readouterr().out == "\n$ cadformer 'a b' c\n" + said.format("c")


@pytest.fixture
def weights(tmp_path):
    """Two checkpoints."""
    files = [tmp_path / f"{name}.pth" for name in ("first", "second")]
    for file in files:
        file.write_text(file.stem)
    return files


def test_a_scored_checkpoint_is_not_scored_again(runs, weights, tmp_path):
    for datasets in (("a",), ("a", "b"), ("b", "a")):
        found = runs.evaluate(Path("c.yaml"), weights[0], datasets, tmp_path)
        assert found == [{"of": "first"}] * len(datasets)
    assert runs.evaluated == ["a", "b"]


def test_another_checkpoint_is_scored_though_it_is_older_than_the_metrics(runs, weights, tmp_path):
    for file in (weights[1], weights[0]):
        (found,) = runs.evaluate(Path("c.yaml"), file, ("a",), tmp_path)
        assert found == {"of": file.stem}


def test_metrics_that_were_deleted_are_made_again(runs, weights, tmp_path):
    runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    (tmp_path / "metrics_a.json").unlink()
    runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    assert runs.evaluated == ["a", "b", "a"]


def test_metrics_that_another_evaluation_overwrote_are_made_again(runs, weights, tmp_path):
    runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    (tmp_path / "metrics_a.json").write_text('{"of": "an evaluation by hand"}')
    found = runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    assert found == [{"of": "first"}] * 2
    assert runs.evaluated == ["a", "b", "a"]


def test_metrics_that_training_left_are_not_the_checkpoints(runs, weights, tmp_path):
    (tmp_path / "metrics_val.json").write_text('{"of": "the last epoch"}')
    assert runs.evaluate(Path("c.yaml"), weights[0], ("val",), tmp_path) == [{"of": "first"}]


def test_metrics_of_an_evaluation_that_failed_are_not_used(runs, weights, tmp_path, monkeypatch):
    runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    evaluate = runs.call
    monkeypatch.setattr(runs, "call", lambda *command: evaluate(*command, fails=True))
    with pytest.raises(subprocess.CalledProcessError):
        runs.evaluate(Path("c.yaml"), weights[1], ("a",), tmp_path)
    monkeypatch.setattr(runs, "call", evaluate)
    found = runs.evaluate(Path("c.yaml"), weights[0], ("a", "b"), tmp_path)
    assert found == [{"of": "first"}] * 2
    assert runs.evaluated == ["a", "b", "a", "a"]  # "b" is still the first checkpoint's
