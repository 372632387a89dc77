"""Where the model that comes with the project is found."""

import configparser
from pathlib import Path

import pytest

from cadformer_d2.inference import ready_model
from cadformer_d2.inference.ready_model import FILE, INSTALLED, NAME, find_ready_model

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "place", [Path("model_zoo") / NAME, INSTALLED, Path("../../..") / INSTALLED]
)
def test_it_is_found_in_a_clone_and_where_pip_puts_it(place, tmp_path, monkeypatch):
    packages = tmp_path / "lib" / "python3" / "site-packages"
    module = packages / "cadformer_d2" / "inference" / "ready_model.py"
    monkeypatch.setattr(ready_model, "__file__", str(module))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="name a checkpoint with --weights"):
        find_ready_model()
    folder = (packages / place).resolve()
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    assert find_ready_model() == folder


def test_a_clone_may_lie_right_below_the_root(monkeypatch):
    monkeypatch.setattr(ready_model, "__file__", "/clone/cadformer_d2/inference/ready_model.py")
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/elsewhere")
    with pytest.raises(FileNotFoundError, match="the ready model is missing"):
        find_ready_model()


def test_a_wheel_puts_it_where_it_is_looked_for():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.data_files"][str(INSTALLED)] == f"model_zoo/{NAME}/*"
