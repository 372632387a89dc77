import importlib
from pathlib import Path

TOOLS = Path(__file__).parent.parent.parent / "tools"


def test_it_asks_for_the_other_machines_python_and_leaves_torch_out(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOLS))
    program = importlib.import_module("build_wheelhouse")
    calls = []
    monkeypatch.setattr(program, "run_pip", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(
        program, "build_wheel", lambda folder: (folder / "detectron2-0.6.whl").touch()
    )
    wheels = program.build_wheelhouse("3.12", tmp_path)
    assert [wheel.name for wheel in wheels] == ["detectron2-0.6.whl"]
    download = next(call for call in calls if call[0] == "download")
    assert download[download.index("--python-version") + 1] == "3.12"
    asked = {argument for call in calls for argument in call}
    assert {"fvcore", "iopath", "antlr4-python3-runtime", "pycocotools"} <= asked
    assert not {"torch", "torchvision"} & asked
    # A newer omegaconf, say, wants another antlr than hydra does.
    for call in calls:
        assert Path(call[call.index("--constraint") + 1]).name == "constraints.txt"
