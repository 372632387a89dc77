"""The commands in datasets/, as a user calls them."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from conftest import make_tiny_cfg

from cadformer_d2.data.catalog import register_datasets
from cadformer_d2.data.synthetic import SynthrsParameters, generate_synthrs
from cadformer_d2.dataset_building.workspace import Workspace
from cadformer_d2.engine.trainer import RefSegTrainer

ROOT = Path(__file__).parent.parent.parent


def call(command, *arguments, root):
    """Run a command in this process; what it ended with: None, or the line of its failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        patch.setenv("DETECTRON2_DATASETS", str(root))
        try:
            runpy.run_path(str(ROOT / command), run_name="__main__")
        except SystemExit as end:
            return end.code
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset made by the commands alone, and its root."""
    folder = tmp_path_factory.mktemp("built")
    generate_synthrs(folder, SynthrsParameters(train=6, val=2, test=2), processes=1)
    images = folder / "images" / "synthrs" / "JPEGImages"
    source = ("refer", "--annotations", folder / "synthrs", "--images", images)
    work = ("--work", folder / "work")
    for arguments in (
        ("read", *source, *work),
        ("masks", "--segmenter", "grabcut", *work),
        ("export", "--tool", "html", "--output", folder / "review", *work),
        ("write", "mydata", "--root", folder, "--undecided", "keep", *work),
    ):
        assert call("datasets/build.py", *arguments, root=folder) is None
    return folder


def test_the_built_dataset_passes_the_check_and_is_described(built, capsys):
    options = ("mydata", "--tokenizer", "synthrs")
    assert call("tools/check_dataset.py", *options, root=built) is None
    assert "mydata: no defects" in capsys.readouterr().out
    output = ("--output", built / "described")
    assert call("datasets/describe_dataset.py", *options, *output, root=built) is None
    assert "baseball field" in capsys.readouterr().out
    assert (built / "described" / "description.png").is_file()


def test_the_built_dataset_trains(built, tmp_path):
    register_datasets(built)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.VAL = ("mydata_train",), ("mydata_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.OUTPUT_DIR = 3, 3, str(tmp_path)
    trainer = RefSegTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert (tmp_path / "metrics_mydata_val.json").is_file()


def test_what_cannot_be_used_is_one_line_with_the_first_defect(built, tmp_path):
    content = {"images": [{"id": 1}], "annotations": [{"id": 7, "image_id": 1, "bbox": [1, 2]}]}
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content))
    options = ("--work", tmp_path / "work", "--images", tmp_path, "--split", f"train={file}")
    end = call("datasets/build.py", "read", "coco", *options, root=built)
    assert "train.json, image 1: unusable image (has no 'file_name')" in end and "\n" not in end
    defects = (tmp_path / "work" / "defects.csv").read_text()
    assert "no such image" in defects


@pytest.mark.parametrize("step", ["read", "judge", "write"])
def test_a_folder_that_is_a_file_is_one_line(built, tmp_path, step):
    (tmp_path / "file").touch()
    source = ("--annotations", built / "synthrs", "--images", built / "images/synthrs/JPEGImages")
    work = ("--work", built / "work")
    arguments = {
        "read": ("refer", *source, "--work", tmp_path / "file"),
        "judge": ("--work", tmp_path / "file"),
        "write": ("m", *work, "--root", tmp_path / "file", "--undecided", "keep"),
    }
    end = call("datasets/build.py", step, *arguments[step], root=built)
    assert end.startswith("error: ") and str(tmp_path / "file") in end and "\n" not in end


@pytest.mark.parametrize("command", ["build.py", "describe_dataset.py"])
def test_ctrl_c_ends_a_command_without_a_traceback(built, command, monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "read_triplets", interrupt)
    arguments = ("judge",) if command == "build.py" else ()
    options = ("--work", built / "work")
    assert call(f"datasets/{command}", *arguments, *options, root=built) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("build", ("masks", "--work", "nowhere", "--segmenter", "grabcut"), "run the step 'read'"),
        ("build", ("import", "nowhere", "--work", "w", "--annotator", "a b"), "annotator is 'a b'"),
        ("describe_dataset", ("nodata",), "unknown dataset 'nodata'; known: gsynthrs, mydata"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_a_failure(built, command, arguments, message):
    end = call(f"datasets/{command}.py", *arguments, root=built)
    assert message in end and "\n" not in end
