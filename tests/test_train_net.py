"""The command itself, as a user calls it."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_process import run
from detectron2.utils.events import EventWriter
from refer_files import ReferFiles

from cadformer_d2.engine.trainer import RefSegTrainer

ROOT = Path(__file__).parent.parent
SMALL = (
    "MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.NUM_HEADS (1,2,4,8) MODEL.TEXT_ENCODER.HIDDEN_SIZE 32 "
    "MODEL.DECODER.HIDDEN_DIM 24 DATALOADER.NUM_WORKERS 0 SOLVER.IMS_PER_BATCH 2 INPUT.SIZE (64,64)"
).split()


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def settings(root):
    return {"DETECTRON2_DATASETS": str(root), "CUDA_VISIBLE_DEVICES": ""}


def train_net(root, *arguments):
    return run("train_net.py", *arguments, environment=settings(root))


def train_net_from_scratch(root, *arguments, launcher=()):
    """By an interpreter of its own, whose processes start as everywhere."""
    environment = os.environ | settings(root)
    command = [sys.executable, "-W", "ignore", *launcher, "train_net.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_train_then_evaluate_with_the_checkpoints_own_network(tmp_path):
    ReferFiles(tmp_path).write()
    output = tmp_path / "out"
    schedule = ["SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0", "TEST.EVAL_PERIOD", "2"]
    config = ("--config-file", "configs/quickstart.yaml")
    trained = train_net(tmp_path, *config, *SMALL, *schedule, "OUTPUT_DIR", str(output))
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert "3 refs at 2 a batch: 2 iterations an epoch" in (output / "log.txt").read_text()
    # Without SMALL: sizes come from the checkpoint, not from the config file.
    weights = ("MODEL.WEIGHTS", str(output / "model_final.pth"), "OUTPUT_DIR", str(output))
    evaluated = train_net(tmp_path, *config, "--eval-only", *weights)
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    assert "synthrs_test: 6 samples, scored at the network's input size" in evaluated.stdout
    assert json.loads((output / "metrics_synthrs_test.json").read_text())["num_samples"] == 6


def test_results_other_than_expected_end_in_failure_as_detectron2s_do(tmp_path):
    ReferFiles(tmp_path).write()
    config = ("--config-file", "configs/quickstart.yaml", *SMALL, "OUTPUT_DIR", str(tmp_path))
    schedule = ("SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0", "TEST.EVAL_PERIOD", "2")
    for tolerance, code in (("101", 0), ("0.01", 1)):
        expected = ("TEST.EXPECTED_RESULTS", f"[['referring_seg', 'mIoU', 101.0, {tolerance}]]")
        trained = train_net(tmp_path, *config, *schedule, *expected)
        assert trained.returncode == code, trained.stderr[-2000:]
        weights = ("MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
        evaluated = train_net(tmp_path, "--eval-only", *config, *weights, *expected)
        assert evaluated.returncode == code, evaluated.stderr[-2000:]


def test_a_mistake_in_several_processes_is_said_once(tmp_path):
    ReferFiles(tmp_path).write()
    processes = ("--num-gpus", "2", "--dist-url", "auto")
    config = ("--config-file", "configs/quickstart.yaml", "OUTPUT_DIR", str(tmp_path / "out"))
    result = train_net(tmp_path, *processes, *config, "SOLVER.STEPS", "(1,)")
    assert result.returncode == 1
    assert result.stderr.count("error: SOLVER.STEPS is (1,), but it has no effect here") == 1
    assert "Traceback" not in result.stderr + result.stdout


@pytest.fixture
def run_here(monkeypatch, tmp_path):
    """train_net's main in this process, which gives what it ends with."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    from cadformer_d2.commands.train import main

    def run(*arguments):
        config = ("--config-file", "configs/quickstart.yaml")
        monkeypatch.setattr(sys, "argv", ["train_net.py", *config, *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code

    return run


MISTAKES = {
    "MODEL.DEVICE cuda": "error: MODEL.DEVICE: 'cuda' needs a CUDA GPU, and this machine has no",
    "MODEL.DECODER.NAME TCDM": "error: MODEL.DECODER.NAME is 'TCDM'; known names: ",
    "MODEL.DECODR.NAME TCMD": "error: Non-existent key: MODEL.DECODR.NAME",
    "DATASETS.TRAIN ('rrsisd_train',)": "refs(unc).p is missing; see datasets/README.md",
    "DATASETS.VAL ('synthrs_vla',)": "error: DATASETS.VAL: unknown dataset 'synthrs_vla'; known: ",
    "--eval-only MODEL.WEIGHTS gone.pth": "error: checkpoint gone.pth is missing",
    "SOLVER.BASE_LR fast": "error: Type mismatch (<class 'float'> vs. <class 'str'>)",
    "--num-gpus -1": "error: --num-gpus is -1 and --num-machines 1",
    "--num-machines 2 --machine-rank 2": "error: --machine-rank is 2, but --num-machines is 2",
    "--num-machines 2 --dist-url auto": "error: --dist-url auto works on one machine",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_clear_line(mistake, tmp_path, run_here):
    ReferFiles(tmp_path).write()
    ended = run_here(*mistake.split(), "OUTPUT_DIR", str(tmp_path / "out"))
    assert MISTAKES[mistake] in ended and "\n" not in ended


class NoRoom(EventWriter):
    """Writers of logs on a disk that fills up: each call fails, the last ones too."""

    def write(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    close = write


@pytest.mark.parametrize("checkpoints_fail", [True, False])
def test_a_disk_that_fills_up_in_training_is_one_line_naming_what_was_lost(
    tmp_path, run_here, monkeypatch, checkpoints_fail
):
    ReferFiles(tmp_path).write()
    output = tmp_path / "out"
    monkeypatch.setattr(RefSegTrainer, "build_writers", lambda self: [NoRoom()])
    if checkpoints_fail:
        monkeypatch.setattr(torch, "save", lambda *args: NoRoom().write())
    schedule = "SOLVER.MAX_ITER 1 SOLVER.CHECKPOINT_PERIOD 1 SOLVER.WARMUP_ITERS 0".split()
    ended = run_here(*SMALL, *schedule, "TEST.EVAL_PERIOD", "0", "OUTPUT_DIR", str(output))
    lost = "checkpoint .*.pth could not be written" if checkpoints_fail else "cannot write to .*out"
    assert re.search(rf"^error: {lost} .*No space left.*continue with --resume$", ended)


def test_a_broken_image_is_one_line_and_its_traceback_in_the_log_file(tmp_path):
    files = ReferFiles(tmp_path).write()
    (files.images / "1.jpg").write_bytes(b"not an image")
    output = tmp_path / "out"
    config = ("--config-file", "configs/quickstart.yaml", *SMALL, "DATALOADER.NUM_WORKERS", "1")
    result = train_net(tmp_path, *config, "OUTPUT_DIR", str(output))
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "1.jpg cannot be read as an image" in last
    assert "Traceback" not in result.stderr + result.stdout
    assert "Traceback" in (output / "log.txt").read_text()


def test_lenient_mode_trains_on_what_is_usable_and_says_what_it_skipped(tmp_path):
    files = ReferFiles(tmp_path)
    files.instances["annotations"].pop(0)  # of ref 1, a training ref
    files.write()
    output = tmp_path / "out"
    config = ("--config-file", "configs/quickstart.yaml", *SMALL)
    schedule = ("SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "0", "TEST.EVAL_PERIOD", "0")
    arguments = (*config, *schedule, "OUTPUT_DIR", str(output))
    strict = train_net(tmp_path, *arguments)
    assert strict.returncode == 1
    assert "ref 1 points to annotation 1, which is not in instances.json" in strict.stderr
    lenient = train_net(tmp_path, *arguments, "DATASETS.LENIENT", "True")
    assert lenient.returncode == 0, lenient.stderr[-2000:]
    assert "skipped 1 records, refs without annotation" in lenient.stdout
    assert "2 refs at 2 a batch" in lenient.stdout


def test_torchrun_makes_one_training_of_its_processes(tmp_path):
    ReferFiles(tmp_path).write()
    config = ("--config-file", "configs/quickstart.yaml", *SMALL)
    schedule = ("SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "0", "TEST.EVAL_PERIOD", "0")

    def losses(name, *launched, launcher=()):
        output = tmp_path / name
        arguments = (*config, *schedule, "OUTPUT_DIR", str(output))
        result = train_net_from_scratch(tmp_path, *launched, *arguments, launcher=launcher)
        assert result.returncode == 0, result.stderr[-2000:]
        last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
        return last["total_loss"]

    launched = losses("launch", "--num-gpus", "2")
    # torchrun gives each process one thread, whose sums differ in the last digits.
    assert losses("torchrun", launcher=TORCHRUN) == pytest.approx(launched, rel=1e-5)


def test_torchrun_and_a_number_of_gpus_contradict_each_other(run_here, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")  # by which torch knows torchrun's processes
    assert run_here("--num-gpus", "2").startswith("error: torchrun has started the processes alr")
