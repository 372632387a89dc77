"""The model of the machine counts what a GPU would run, without one."""

import json

import pytest
import torch
import torch.nn.functional as F
from command_process import CADFORMER, run
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.benchmark.backward_walk import backward_in_python
from cadformer_d2.benchmark.cards import CARDS
from cadformer_d2.benchmark.fake_card import fake_card
from cadformer_d2.benchmark.roofline import HOST_SECONDS, call_seconds, device_seconds
from cadformer_d2.benchmark.running_part import RunningPart
from cadformer_d2.benchmark.traffic import KernelCount, count_traffic
from cadformer_d2.commands import benchmark
from cadformer_d2.layers.windows import shift_mask
from cadformer_d2.model_cost import count_flops_by_part, random_sample

H200 = CARDS["h200"]


def kernels(call, *, card=H200, inputs, dtype=None):
    """What ``call`` launches for inputs on the card; forward and backward if it returns a loss."""
    with fake_card(card), torch.autocast("cuda", dtype, enabled=dtype is not None):
        tensors = inputs()
        with backward_in_python(), KernelCount(RunningPart(nn.Module())) as counted:
            call(*tensors)
    return [kernel for _, kernel in counted.kernels]


def on_card(*shapes, **options):
    return lambda: [torch.empty(shape, device="cuda", **options) for shape in shapes]


def test_a_matrix_product_reads_both_sides_writes_one_and_multiplies_as_written():
    (kernel,) = kernels(torch.mm, inputs=on_card((4, 8), (8, 16)))
    assert (kernel.kind, kernel.launches, kernel.macs) == ("matrix product", 1, 4 * 8 * 16)
    assert kernel.bytes == 4 * (4 * 8 + 8 * 16 + 4 * 16)


def test_views_cost_nothing_and_expanded_values_are_read_once():
    def call(x, row):
        return x.view(8, 4).t()[2:], x + row.expand(4, 8)

    (kernel,) = kernels(call, inputs=on_card((4, 8), (1, 8)))
    assert kernel.kind == "pointwise" and kernel.bytes == 4 * (4 * 8 + 8 + 4 * 8)


def test_a_copy_that_turns_axes_is_a_change_of_layout_and_slower():
    straight, turned = kernels(
        lambda x: (x.clone(), x.t().contiguous()), inputs=on_card((4096, 4096))
    )
    assert (straight.kind, turned.kind) == ("copy, cast", "layout change")
    assert straight.bytes == turned.bytes == 2 * 4 * 4096**2
    assert device_seconds(turned, H200) > 2 * device_seconds(straight, H200)


def test_casts_of_autocast_are_counted():
    linear = kernels(F.linear, inputs=on_card((4, 8), (16, 8), (16,)), dtype=torch.bfloat16)
    assert [kernel.kind for kernel in linear] == ["copy, cast"] * 3 + ["matrix product"]
    assert linear[-1].dtype == torch.bfloat16 and linear[0].bytes == (4 + 2) * 16
    norm = kernels(
        lambda x: F.layer_norm(x, (8,)),
        inputs=on_card((4, 8), dtype=torch.bfloat16),
        dtype=torch.bfloat16,
    )
    assert [kernel.kind for kernel in norm] == ["copy, cast", "norm"]  # in float32, as on a GPU


QKV = ((2, 4, 144, 32),) * 3


@pytest.mark.parametrize("card, kernel", [("h200", "cudnn"), ("a100", "flash")])
def test_a_fused_attention_is_one_launch(card, kernel):
    (only,) = kernels(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
        card=CARDS[card],
        inputs=on_card(*QKV, dtype=torch.bfloat16),
    )
    assert kernel in only.operator and only.launches == 1
    assert only.macs == 2 * 2 * 4 * 144 * 144 * 32


def test_a_mask_that_learns_or_lies_across_changes_the_attention_that_is_taken():
    inputs = on_card(*QKV, (1, 4, 144, 144), dtype=torch.bfloat16)

    def learning(q, k, v, mask):
        F.scaled_dot_product_attention(q, k, v, mask.requires_grad_())

    def across(q, k, v, mask):
        F.scaled_dot_product_attention(q, k, v, mask.transpose(2, 3))

    (fused,) = kernels(learning, inputs=inputs)
    assert "efficient" in fused.operator and fused.has_mask
    unfused = kernels(across, inputs=inputs)
    assert len(unfused) > 5
    assert all(k.dtype == torch.float32 for k in unfused if k.kind == "matrix product")


def test_a_gradient_of_a_convolution_costs_what_the_convolution_does():
    def train(x, weight):
        F.conv2d(x.requires_grad_(), weight.requires_grad_(), padding=1).sum().backward()

    found = kernels(train, inputs=on_card((2, 8, 6, 6), (16, 8, 3, 3)))
    macs = [kernel.macs for kernel in found if kernel.kind == "convolution"]
    assert macs == [2 * 16 * 6 * 6 * 8 * 9, 2 * 2 * 16 * 6 * 6 * 8 * 9]


def test_cudnn_turns_maps_that_have_their_channels_first():
    def launches(memory_format):
        def call(x, weight):
            return F.conv2d(x.contiguous(memory_format=memory_format), weight)

        found = kernels(call, inputs=on_card((2, 8, 6, 6), (16, 8, 3, 3), dtype=torch.bfloat16))
        return sum(k.launches for k in found if k.operator == "convolution")

    assert launches(torch.channels_last) == 1
    assert launches(torch.contiguous_format) == 1 + 3


def test_the_walk_gives_the_gradients_of_the_engine():
    torch.manual_seed(0)
    model = build_model(make_tiny_cfg()).eval()
    batch = [make_sample(seed=seed) for seed in range(2)]
    model.training = True  # losses, and no dropout
    found = []
    for walked in (False, True):
        model.zero_grad()
        loss = sum(model(batch).values())
        if walked:
            with backward_in_python():
                loss.backward()
        else:
            loss.backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    assert len(found[0]) > 100
    for engine, walk in zip(*found, strict=True):
        torch.testing.assert_close(walk, engine)


def test_small_kernels_wait_for_the_host_and_large_ones_hide_it():
    small = kernels(lambda x: [x + 1 for _ in range(100)], inputs=on_card((8,)))
    assert call_seconds(small, H200) == pytest.approx(100 * HOST_SECONDS, rel=0.1)
    large = kernels(lambda x: [x + 1 for _ in range(100)], inputs=on_card((2**28,)))
    alone = 100 * device_seconds(large[0], H200)
    assert alone <= call_seconds(large, H200) < alone + 2 * HOST_SECONDS
    assert call_seconds(large, CARDS["rtx3090"]) > 3 * alone


@pytest.fixture(scope="module")
def tiny():
    """Traffic of two images, with plain and shifted windows; and FLOPs of one."""
    cfg = make_tiny_cfg()
    cfg.MODEL.SWIN.DEPTHS = (2, 1, 1, 1)
    model = build_model(cfg)
    flops = count_flops_by_part(model, random_sample(cfg, 8))
    sizes = {"card": H200, "batch_size": 2, "num_tokens": 8}
    return count_traffic(cfg, model, **sizes, dtype="bfloat16"), flops


def test_classes_and_components_add_up_and_products_are_fvcores(tiny):
    traffic, flops = tiny
    for call in traffic.values():
        for split in ("by class", "by component"):
            for quantity in ("launches", "bytes", "macs"):
                assert sum(x[quantity] for x in call[split].values()) == call[quantity]
    inference = traffic["inference"]
    assert inference["macs"] == pytest.approx(2 * sum(flops.values()), rel=0.1)  # norms aside
    for part in ("Swin blocks", "decoder convolutions", "text"):
        assert inference["by component"][part]["macs"] == pytest.approx(2 * flops[part], rel=0.1)
    # Backward costs two products for each of forward's.
    assert 2.7 < traffic["training"]["macs"] / inference["macs"] < 3.2


def test_the_backward_pass_is_told_apart_by_component(tiny):
    forward, step = tiny[0]["inference"]["by component"], tiny[0]["training"]["by component"]
    for part in forward.keys() - {"upsampling, masks"}:
        assert step[part]["macs"] >= 2 * forward[part]["macs"]
    assert step["optimizer"]["launches"] > 0


def test_nothing_without_values_stays_behind(tiny):
    assert shift_mask.cache_info().currsize == 0
    assert not torch.cuda.is_initialized()
    build_model(make_tiny_cfg()).eval()([make_sample(is_train=False)])


# What the default model's pass costs a GPU, at this size. A change that raises a bound should know
# why; one that stays well below should lower it.
MOST = {
    "training": {"launches": 2550, "copied": 14_200_000, "layout changes": 66},
    "inference": {"launches": 870, "copied": 6_550_000, "layout changes": 36},
}


@pytest.mark.parametrize("call", MOST)
def test_launches_copied_bytes_and_layout_changes_do_not_grow(call, tiny):
    found = tiny[0][call]
    moved = [found["by class"][kind] for kind in ("copy, cast", "layout change")]
    counted = {
        "launches": found["launches"],
        "copied": sum(kind["bytes"] for kind in moved),
        "layout changes": moved[1]["launches"],
    }
    for what, most in MOST[call].items():
        assert 0.9 * most < counted[what] <= most, (what, counted)


def test_the_command_asks_for_a_training_batch_in_bfloat16(monkeypatch, tmp_path):
    asked, output = {}, tmp_path / "traffic.json"
    counted = {"training": {"seconds": 0.1}, "inference": {"seconds": 0.03}}
    monkeypatch.setattr(benchmark, "count_traffic", lambda *_, **how: asked.update(how) or counted)
    tiny = "MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.DEPTHS (1,1,1,1) MODEL.SWIN.NUM_HEADS (1,2,4,8) "
    tiny += "INPUT.SIZE (64,64) MODEL.DECODER.HIDDEN_DIM 24 MODEL.TEXT_ENCODER.NUM_LAYERS 0"
    options = ("--work", "traffic", "--card", "a100", "--output", str(output))
    monkeypatch.setattr("sys.argv", ["benchmark", *options, *tiny.split()])
    benchmark.main()
    expected = {"card": CARDS["a100"], "batch_size": 16, "num_tokens": 20, "dtype": "bfloat16"}
    assert asked == expected
    result = json.loads(output.read_text())
    assert result["traffic"] == counted and result["setting"]["card"] == "A100"


@pytest.mark.parametrize("options", [("--card", "h100"), ("--work", "traffic", "--compile")])
def test_what_would_have_no_effect_is_refused(options):
    assert run(CADFORMER, "benchmark", *options).returncode == 2
