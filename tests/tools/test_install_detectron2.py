import base64
import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent.parent / "tools" / "install_detectron2.py"


@pytest.fixture
def program():
    spec = importlib.util.spec_from_file_location("install_detectron2", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source_wheel(tmp_path):
    path = tmp_path / "labgym-3.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("LabGym/__init__.py", "raise RuntimeError('not this one')")
        wheel.writestr("LabGym/detectron2/__init__.py", "from LabGym.detectron2.core import X\n")
        wheel.writestr("LabGym/detectron2/core.py", "import LabGym.detectron2.core as me\nX = 7\n")
    return path


def test_the_repacked_wheel_is_valid_and_holds_detectron2_alone(program, source_wheel, tmp_path):
    (tmp_path / "out").mkdir()
    wheel = zipfile.ZipFile(program.repack(source_wheel, tmp_path / "out"))
    assert wheel.read("detectron2/__init__.py") == b"from detectron2.core import X\n"
    assert wheel.read("detectron2/core.py") == b"import detectron2.core as me\nX = 7\n"
    assert not [name for name in wheel.namelist() if "LabGym" in name]
    metadata = wheel.read("detectron2-0.6.dist-info/METADATA").decode()
    assert "License: Apache-2.0" in metadata and "LabGym/detectron2" in metadata
    for line in wheel.read("detectron2-0.6.dist-info/RECORD").decode().splitlines():
        name, digest, size = line.split(",")
        if digest:
            content = wheel.read(name)
            sha = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert digest == f"sha256={sha}" and int(size) == len(content)


def test_pip_installs_the_repacked_wheel(program, source_wheel, tmp_path):
    wheel = program.repack(source_wheel, tmp_path)
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    code = "import detectron2; print(detectron2.X)"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert output.stdout == "7\n", output.stderr


def test_another_file_than_the_one_written_for_is_refused(program, source_wheel):
    with pytest.raises(SystemExit, match=r"labgym-3\.1\.2.*SHA-256 is .*nothing was installed"):
        program.verify_checksum(source_wheel)


def test_an_importable_detectron2_is_left_alone(program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["install_detectron2.py"])
    monkeypatch.setattr(program, "run_pip", lambda *arguments: pytest.fail("pip was called"))
    program.main()
    assert "used as it is" in capsys.readouterr().out


def test_a_failure_says_what_was_tried(program, monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="no such index")
    monkeypatch.setattr(program.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(
        SystemExit, match="pip download .*labgym==3.1.2\nwhich failed with:\nno such"
    ):
        program.build_wheel(tmp_path)
