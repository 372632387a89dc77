"""The benchmark measures what it says; what it says can be compared."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from command_process import CADFORMER, fork_server, run
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from refer_files import ReferFiles
from torch import nn

from cadformer_d2.benchmark.components import seconds_by_part
from cadformer_d2.benchmark.memory import measure_kept_for_backward, measure_peak_memory
from cadformer_d2.benchmark.report import format_comparison
from cadformer_d2.benchmark.timing import time_calls
from cadformer_d2.benchmark.workloads import measure_evaluation_rate
from cadformer_d2.data.catalog import register_datasets
from cadformer_d2.model_cost import count_flops, count_flops_by_part, part_name, random_sample

CPU = torch.device("cpu")


def test_calls_are_timed_in_turns_and_the_warm_up_is_not_counted():
    order = []
    timings = time_calls(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b") or time.sleep(0.01)},
        device=CPU,
        repeats=3,
        warm_up=1,
    )
    assert order == ["a", "b"] * 4
    assert timings["a"].repeats == 3
    assert timings["b"].low <= timings["b"].median <= timings["b"].high
    assert timings["b"].median >= 0.01 > timings["a"].median


def test_every_second_of_a_pass_belongs_to_a_part():
    model = build_model(make_tiny_cfg()).eval()
    batch = [make_sample(is_train=False)]
    with torch.no_grad(), seconds_by_part(model, CPU) as seconds:
        start = time.perf_counter()
        model(batch)
        whole = time.perf_counter() - start
    expected = {"text", "Swin blocks", "alignment", "decoder convolutions", "decoder Transformer"}
    assert expected <= seconds.keys()
    assert 0.8 * whole < sum(seconds.values()) <= whole
    with torch.no_grad():
        model(batch)
    assert sum(seconds.values()) <= whole  # outside the context nothing is added


def test_parts_add_up_to_the_components(tiny_cfg):
    model, sample = build_model(tiny_cfg), random_sample(tiny_cfg, 7)
    parts, components = count_flops_by_part(model, sample), count_flops(model, sample)
    assert parts["text"] == components["text_encoder"]
    assert parts["alignment"] == components["alignment"]
    decoder = sum(flops for part, flops in parts.items() if part.startswith("decoder"))
    assert decoder == components["decoder"]


def test_modules_outside_the_components_are_the_models_own_work(tiny_cfg):
    model = build_model(tiny_cfg)
    assert part_name(model, "") == "upsampling, masks"
    assert part_name(model, "decoder.fusions.0.3.router") == "decoder second convolutions"


def fill(num_bytes):
    torch.ones(num_bytes, dtype=torch.uint8)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory needs /proc")
def test_peak_memory_is_of_the_work_alone(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: fork_server)
    little, much = (measure_peak_memory(fill, size, device=CPU) for size in (2**20, 2**28))
    assert 0.9 * 2**28 < much - little < 1.2 * 2**28


def test_what_is_kept_for_the_backward_pass_is_counted_once_and_without_weights():
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    x = torch.rand(2, 8)
    # The input and tanh's output, which two operators keep, in float32.
    assert measure_kept_for_backward(model, lambda: model(x)) == 4 * (2 * 8 + 2 * 16)


def test_a_comparison_shows_ratios_of_what_both_have():
    table = format_comparison(
        {"x": {"y": 2.0, "name": "a"}, "z": 1}, {"x": {"y": 3.0, "name": "b"}}
    )
    assert "x / y" in table and "1.5" in table and "z" not in table


def test_the_command_measures_a_baseline_against_plain_operators(tmp_path):
    output = tmp_path / "now.json"
    tiny = "MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.DEPTHS (1,1,1,1) MODEL.SWIN.NUM_HEADS (1,2,4,8) "
    tiny += "INPUT.SIZE (64,64) MODEL.DECODER.HIDDEN_DIM 24 MODEL.TEXT_ENCODER.NUM_LAYERS 0"
    config = ("--config-file", "configs/baselines/fianet_rrsisd.yaml", "--repeats", "1")
    options = ("--reference", "--work", "inference,training", "--output", str(output))
    ended = run(CADFORMER, "benchmark", *config, *options, *tiny.split())
    assert ended.returncode == 0, ended.stderr
    result = json.loads(output.read_text())
    assert result["inference"]["seconds"]["median"] > 0
    assert result["training step"]["plain / ours"] > 0
    assert result["GFLOPs of a sample"]["neck"] > 0


@pytest.mark.parametrize("options", [("--reference",), ("--work", "memory")])
def test_what_would_not_be_compiled_is_not_called_so(options):
    result = run(CADFORMER, "benchmark", "--compile", *options)
    assert result.returncode == 2
    assert "--compile cannot be combined with --reference or" in result.stderr


def test_an_evaluation_is_timed_from_files_to_scores_in_the_format_asked_for(tmp_path, tiny_cfg):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    tiny_cfg.DATASETS.TEST, tiny_cfg.OUTPUT_DIR = ("synthrs_test",), str(tmp_path / "scores")
    tiny_cfg.DATALOADER.NUM_WORKERS = 0
    model = build_model(tiny_cfg)
    probabilities = []
    model.register_forward_hook(lambda _, __, out: probabilities.append(out[0]["sem_seg"]))
    for dtype in ("float32", "bfloat16"):
        tiny_cfg.TEST.DTYPE = dtype
        assert measure_evaluation_rate(tiny_cfg, model) > 0
    # Not where scores of trained models are kept.
    assert not (tmp_path / "scores").exists()
    exact, rounded = probabilities[0], probabilities[len(probabilities) // 2]
    assert 0 < (exact - rounded).abs().max() < 0.1
