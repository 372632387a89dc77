"""The comparison command, as a user calls it."""

import csv
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from command_process import CADFORMER, run
from refer_files import ReferFiles, square

from cadformer_d2.command_errors import run_command

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    "MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.NUM_HEADS (1,2,4,8) MODEL.TEXT_ENCODER.HIDDEN_SIZE 32 "
    "MODEL.DECODER.HIDDEN_DIM 24 SOLVER.IMS_PER_BATCH 2 INPUT.SIZE (64,64) "
    "SOLVER.MAX_ITER 2 SOLVER.WARMUP_ITERS 0"
).split()
METHODS = ("configs/rrsisd.yaml", "configs/baselines/fianet_rrsisd.yaml")


@pytest.fixture(scope="module")
def comparing():
    """The command as a module, whose trainings and evaluations start from the fork server."""
    with pytest.MonkeyPatch.context() as patch:
        from cadformer_d2.commands import compare

        def call(*command, log=None, environment=()):
            status = run(CADFORMER, *command, log=log, environment=environment).returncode
            if status:
                raise subprocess.CalledProcessError(status, command)

        patch.setattr(compare.runs, "call", call)
        patch.chdir(ROOT)
        yield compare


@pytest.fixture(scope="module")
def call(comparing):
    """Run the command in this process."""

    def call(root, *arguments):
        said, errors = io.StringIO(), io.StringIO()
        code = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(said),
            redirect_stderr(errors),
        ):
            patch.setenv("DETECTRON2_DATASETS", str(root))
            patch.setattr(sys, "argv", ["cadformer compare", *arguments])
            try:
                run_command(comparing.main)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
                print("" if isinstance(end.code, int) else end.code, file=sys.stderr)
        return subprocess.CompletedProcess(arguments, code, said.getvalue(), errors.getvalue())

    return call


@pytest.fixture(scope="module")
def compare(call):
    """Compare configs, at a test's size."""

    def compare(root, output, *arguments, opts=()):
        common = ("--common", "configs/synthrs_comparison.yaml", "--output", str(output))
        return call(root, *arguments, *common, *SMALL, *opts)

    return compare


@pytest.fixture(scope="module")
def finished(compare, tmp_path_factory):
    """The folder of a comparison of two methods over two seeds, and what it printed."""
    root = tmp_path_factory.mktemp("data")
    files = ReferFiles(root)
    files.add_target(1, "test", square(20, 20))  # so that its image can be asked about another
    files.write()
    output = root / "out"
    result = compare(
        root, output, "--config-files", *METHODS, "--seeds", "1", "2", "--disputed", "2",
        "--diagnostics",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:] + result.stdout[-3000:]
    return root, output, result.stdout


def test_the_table_has_a_row_for_each_method(finished):
    _, output, shown = finished
    table = (output / "table.md").read_text()
    header, _, first, second = table.splitlines()
    assert first.startswith("| rrsisd ") and second.startswith("| fianet_rrsisd ")
    for column in ("mIoU 95 %", "mIoU minus rrsisd", "parameters (M)", "GFLOPs", "training (s)"):
        assert column in header
    assert table in shown
    groups = (output / "groups.md").read_text()
    assert "place words removed" in groups and "another scene" not in groups
    assert "has no column 'sentence of another scene': its refs have one target each" in shown
    assert (output / "disputed.png").stat().st_size > 10_000


def test_a_comparison_called_again_trains_nothing_and_gives_the_same_table(finished, compare):
    root, output, _ = finished
    before = {p: p.stat().st_mtime_ns for p in output.rglob("model_final.pth")}
    table = (output / "table.csv").read_text()
    (output / "table.csv").unlink()
    again = compare(root, output, "--config-files", *METHODS, "--seeds", "1", "2", "--diagnostics")
    assert again.returncode == 0, again.stderr[-3000:]
    assert {p: p.stat().st_mtime_ns for p in output.rglob("model_final.pth")} == before
    assert (output / "table.csv").read_text() == table


def test_other_settings_do_not_reuse_the_finished_runs(finished, compare):
    root, output, _ = finished
    result = compare(
        root, output, "--config-files", *METHODS, "--seeds", "1", opts=("SOLVER.BASE_LR", "0.1")
    )
    assert result.returncode == 1
    assert "holds a run with other settings" in result.stderr


def test_a_failing_run_is_reported_and_the_others_go_on(finished, compare, tmp_path):
    root, _, _ = finished
    broken = tmp_path / "broken.yaml"
    base = ROOT / "configs" / "rrsisd.yaml"
    broken.write_text(f'_BASE_: "{base}"\nMODEL: {{DECODER: {{NAME: "TCDM"}}}}\n')
    result = compare(root, tmp_path / "out", "--config-files", str(broken), METHODS[0])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "broken/seed1: FAILED; " in result.stdout
    assert "| rrsisd " in result.stdout
    assert "known names: " in (tmp_path / "out" / "broken" / "seed1" / "output.txt").read_text()


@pytest.fixture
def compare_checkpoints(call, finished):
    """Compare the first seeds of the finished comparison."""
    root, finished_output, _ = finished

    def compare_checkpoints(output, names, *arguments):
        given = [f"{name}={finished_output / name / 'seed1' / 'model_final.pth'}" for name in names]
        return call(root, "--checkpoints", *given, "--output", str(output), *arguments)

    return compare_checkpoints


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "synthrs_tset"), "unknown dataset 'synthrs_tset'"),
        (("DATASETS.TEST", "()"), "DATASETS.TEST is empty; add --dataset"),
    ],
)
def test_a_dataset_that_is_not_there_is_said_before_anything_runs(
    compare_checkpoints, tmp_path, arguments, message
):
    result = compare_checkpoints(tmp_path / "out", ("rrsisd",), *arguments)
    assert result.returncode == 1 and message in result.stderr
    assert not (tmp_path / "out").exists()


def test_trained_checkpoints_can_be_compared(compare_checkpoints, tmp_path):
    result = compare_checkpoints(tmp_path, ("rrsisd", "fianet_rrsisd"))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "| fianet_rrsisd " in result.stdout


def test_another_input_size_reaches_given_checkpoints(compare_checkpoints, tmp_path):
    result = compare_checkpoints(tmp_path, ("rrsisd",), "INPUT.SIZE", "(96,96)")
    assert result.returncode == 0, result.stderr[-3000:]
    predictions = json.loads((tmp_path / "rrsisd/model0/predictions_synthrs_test.json").read_text())
    assert predictions["samples"][0]["prediction"]["size"] == [96, 96]


def write_any_targets(root, *categories):
    """Test refs about three images, each of which knows one category; the first ref is to none."""
    files = ReferFiles(root, name="gsynthrs")
    for ref in files.refs:
        ref.update(split="test", category_id=categories[ref["image_id"] - 1])
    files.refs[0]["ann_id"] = [-1]
    files.write()


def test_expressions_of_other_scenes_count_as_declared_absent(
    compare_checkpoints, finished, tmp_path
):
    write_any_targets(finished[0], 1, 2, 1)
    options = ("--dataset", "gsynthrs_test", "--diagnostics")
    result = compare_checkpoints(tmp_path, ("rrsisd",), *options)
    assert result.returncode == 0 and "has no column" not in result.stdout, result.stderr[-3000:]
    (row,) = csv.DictReader((tmp_path / "groups.csv").open())
    metrics = tmp_path / "rrsisd" / "model0" / "metrics_gsynthrs_test_other_scenes.json"
    scored = json.loads(metrics.read_text())
    assert row["sentence of another scene"] == f"{scored['N-acc']:.2f}"


def test_a_column_that_a_test_set_cannot_fill_is_said_and_the_others_stay(tmp_path, capsys):
    from cadformer_d2.commands.diagnostics import find_diagnostics
    from cadformer_d2.data.catalog import register_datasets

    write_any_targets(tmp_path, 1, 1, 1)
    register_datasets(tmp_path)
    assert [*find_diagnostics("gsynthrs_test")] == ["shuffled", "no_places", "no_categories"]
    assert capsys.readouterr().out == (
        "compare: gsynthrs_test has no column 'sentence of another scene': no image lacks a "
        "category of another one, so no expression can be moved\n"
    )


@pytest.mark.parametrize("option", [("--seeds", "2"), ("--common", "configs/quickstart.yaml")])
def test_options_for_training_are_refused_beside_checkpoints(option):
    result = run(CADFORMER, "compare", "--checkpoints", "rrsisd=model.pth", *option)
    assert result.returncode == 2
    assert "--common and --seeds are for training" in result.stderr


def planned(comparing, monkeypatch, output, *opts):
    """The runs of both methods."""
    arguments = ["compare.py", "--config-files", *METHODS, "--output", str(output), *opts]
    monkeypatch.setattr(sys, "argv", arguments)
    return comparing.plan_runs(comparing.parse_arguments())


def test_a_default_that_is_new_is_not_another_setting(comparing, monkeypatch, tmp_path):
    run, _ = planned(comparing, monkeypatch, tmp_path)
    comparing.write_config(run)
    asked = run.folder / "asked.yaml"
    older = [line for line in asked.read_text().splitlines() if "EMPTY_IOU" not in line]
    asked.write_text("\n".join(older))
    comparing.write_config(run)
    assert "EMPTY_IOU" in asked.read_text()


def test_a_changed_test_set_that_is_not_there_is_said_before_anything_runs(
    comparing, monkeypatch, tmp_path
):
    changed = ("--dataset", "synthrs_test_shuffled")
    planned(comparing, monkeypatch, tmp_path, *changed)
    with pytest.raises(ValueError, match="unknown dataset 'synthrs_test_shuffled_shuffled'"):
        planned(comparing, monkeypatch, tmp_path, *changed, "--diagnostics")


@pytest.mark.parametrize(
    "key, value", [("TEST.EVAL_RESOLUTION", "native"), ("INPUT.SIZE", (64, 64))]
)
def test_scores_that_are_not_measured_alike_are_not_paired(
    comparing, monkeypatch, tmp_path, key, value
):
    first, second = planned(comparing, monkeypatch, tmp_path)
    comparing.refuse_other_scoring([first, second])
    second.cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=f"{key} is .* for rrsisd but .* for fianet_rrsisd"):
        comparing.refuse_other_scoring([first, second])


def test_networks_of_other_sizes_may_be_scored_at_the_images_size(comparing, monkeypatch, tmp_path):
    native = ("TEST.EVAL_RESOLUTION", "native")
    first, second = planned(comparing, monkeypatch, tmp_path, *native)
    second.cfg.INPUT.SIZE = (64, 64)
    comparing.refuse_other_scoring([first, second])


def test_a_mistyped_key_is_named(comparing, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="SOLVER.BASE_RL"):
        planned(comparing, monkeypatch, tmp_path, "SOLVER.BASE_RL", "0.1")
