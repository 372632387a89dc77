"""The dataset commands, as a user calls them."""

import importlib
import json
import pickle
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from refer_files import ReferFiles

from cadformer_d2.command_errors import run_command

ROOT = Path(__file__).parent.parent.parent
BUS_LOT = ROOT.parent / "shared" / "real" / "bus_lot"


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command in this process; an import takes seconds."""

    def run(command, *arguments, root):
        module = importlib.import_module(f"cadformer_d2.commands.{command}")
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        code = 0
        try:
            run_command(module.main)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            print("" if isinstance(end.code, int) else end.code, file=sys.stderr)
        output = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=output.out, stderr=output.err)

    return run


def test_a_sound_dataset_passes(tmp_path, call):
    ReferFiles(tmp_path).write()
    result = call("check_dataset", "synthrs", "--tokenizer", "synthrs", root=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "synthrs: no defects" in result.stdout


def test_defects_are_named_and_fail_the_check(tmp_path, call):
    files = ReferFiles(tmp_path)
    files.instances["annotations"].pop(0)
    files.write()
    with (files.images / "2.jpg").open("r+b") as image:
        image.truncate(300)
    result = call("check_dataset", "synthrs", "--tokenizer", "synthrs", root=tmp_path)
    assert result.returncode == 1
    assert "ref 1 points to annotation 1" in result.stdout
    assert "2.jpg cannot be read as an image" in result.stdout


def test_published_counts_are_compared_unless_it_is_a_subset(tmp_path, call):
    ReferFiles(tmp_path, name="rrsishr").write()
    arguments = ("rrsishr", "--tokenizer", "synthrs")
    result = call("check_dataset", *arguments, root=tmp_path)
    assert result.returncode == 1
    assert "train: 3 usable refs instead of 2118" in result.stdout
    assert call("check_dataset", *arguments, "--subset", root=tmp_path).returncode == 0


@pytest.mark.skipif(not BUS_LOT.is_dir(), reason=f"{BUS_LOT.name}, a real sample, is not here")
def test_a_real_sample_passes(call):
    arguments = ("rrsisd", "--subset", "--tokenizer", "synthrs")
    result = call("check_dataset", *arguments, root=BUS_LOT)
    assert result.returncode == 0, result.stdout


def test_the_models_input_can_be_looked_at(tmp_path, call):
    ReferFiles(tmp_path).write()
    picture = tmp_path / "data.png"
    config = ("--config-file", "configs/quickstart.yaml", "--number", "2")
    result = call("visualize_data", *config, "--output", str(picture), root=tmp_path)
    assert result.returncode == 0, result.stderr
    assert picture.stat().st_size > 10_000


def set_refs(files, content):
    (files.annotations / "refs(unc).p").write_bytes(pickle.dumps(content))


def set_instances(files, content):
    (files.annotations / "instances.json").write_text(json.dumps(content))


def rename_category(files):
    files.instances["categories"][0]["name"] = 5
    set_instances(files, files.instances)


ODD_FILES = {
    "refs that are a number": (lambda files: set_refs(files, 7), "expected a list of refs, got 7"),
    "refs that are numbers": (lambda files: set_refs(files, [7, None]), "entry 0 is 7"),
    "instances that are a list": (lambda files: set_instances(files, []), "has no list 'images'"),
    "a category that is a number": (rename_category, "categories: entry 0 name is 5"),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_odd_files_are_defects_and_no_tracebacks(tmp_path, call, kind):
    change, message = ODD_FILES[kind]
    files = ReferFiles(tmp_path).write()
    change(files)
    result = call("check_dataset", "synthrs", "--tokenizer", "synthrs", root=tmp_path)
    assert result.returncode == 1 and message in result.stdout
    config = ("--config-file", "configs/quickstart.yaml", "--output", tmp_path / "a.png")
    result = call("visualize_data", *config, root=tmp_path)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_a_root_that_is_a_file_is_one_line(tmp_path, call):
    (tmp_path / "root").write_text("")
    options = ("--root", tmp_path / "root", "--train", 1, "--val", 1, "--test", 1)
    result = call("synthesize_dataset", *options, root=tmp_path)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "synthrs could not be written" in result.stderr


def test_generated_data_are_counted(tmp_path, call):
    options = ("--root", tmp_path, "--train", 2, "--val", 1, "--test", 1)
    result = call("synthesize_dataset", *options, root=tmp_path)
    assert result.returncode == 0 and "synthrs: 4 images" in result.stdout, result.stderr
    assert "already exists" in call("synthesize_dataset", *options, root=tmp_path).stdout


def test_data_that_are_not_there_are_one_clear_line(tmp_path, call):
    config = ("--config-file", "configs/quickstart.yaml")
    result = call("visualize_data", *config, "--output", str(tmp_path / "a.png"), root=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") and "is missing" in result.stderr


def test_refs_are_counted_by_their_number_of_targets(tmp_path, call):
    files = ReferFiles(tmp_path, name="gsynthrs")
    files.refs[0].update(ann_id=[-1])
    files.refs[3].update(ann_id=[4, 5, 6])
    files.write()
    arguments = ("gsynthrs", "--tokenizer", "")
    result = call("check_dataset", *arguments, root=tmp_path)
    header, _, train, *_ = (line.split("  ") for line in result.stdout.splitlines())
    columns = {k.strip(): v for k, v in zip(filter(None, header), filter(None, train), strict=True)}
    names = ("refs", "no target", "one target", "several targets")
    assert [int(columns[name]) for name in names] == [3, 1, 1, 1], result.stdout
    described = call("describe_dataset", *arguments, root=tmp_path)
    for name in names[1:]:
        assert re.search(rf"\| sentences about {name} +\| ", described.stdout), described.stdout
