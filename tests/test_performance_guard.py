"""What makes the model fast, guarded by counts of operators, not by time."""

from collections import Counter

import pytest
import torch
from conftest import make_sample, make_tiny_cfg, zeros_for_random_weights
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cadformer_d2.config import add_cadformer_config
from cadformer_d2.engine.host_losses import HostLosses
from cadformer_d2.engine.optimizer import build_optimizer
from cadformer_d2.engine.training_step import TrainingStep
from cadformer_d2.layers import convolution
from cadformer_d2.layers.windows import shift_mask
from cadformer_d2.model_cost import count_parameters, random_sample
from cadformer_d2.modeling.backbone import swin_stage

FUSED_ATTENTION = "aten._scaled_dot_product_flash_attention_for_cpu.default"
# Operators through which the host reads a value, which on a GPU waits for it.
HOST_READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.masked_select")


class OperatorCount(TorchDispatchMode):
    """Counts the operators that run within the context."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def forward_counts(model, batch):
    with torch.no_grad(), OperatorCount() as operators:
        model.eval()(batch)
    return operators.counts


def test_every_attention_of_the_model_is_fused():
    cfg = make_tiny_cfg()
    counts = forward_counts(build_model(cfg), [make_sample(is_train=False)])
    alignments = 4 + 4  # LGVLA at every stage; VGLVA too, since TCMD reads the text
    decoder = 2 * 2  # self- and cross-attention at stages 3 and 2
    blocks = sum(cfg.MODEL.SWIN.DEPTHS)
    assert counts[FUSED_ATTENTION] == blocks + alignments + decoder + 1  # and BERT's layer
    assert counts["aten._native_multi_head_attention.default"] == 0  # unfused in spite of its name
    assert counts["aten._safe_softmax.default"] == 0  # what an attention falls back to


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_attention_has_a_mask_that_cuda_cannot_fuse(dtype, monkeypatch):
    # There a row of the mask must lie side by side, or scores are computed apart and in float32;
    # the CPU's operator takes any.
    cfg, seen = make_tiny_cfg(), []
    cfg.MODEL.SWIN.DEPTHS = (2, 2, 2, 2)
    fused = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, attn_mask=None, *rest, **options):
        seen.append((query, key, value, attn_mask))
        return fused(query, key, value, attn_mask, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        forward_counts(build_model(cfg), [make_sample(is_train=False)])
    assert len(seen) > 8 + 8
    for query, *_, mask in seen:
        if mask is not None:
            assert mask.stride(-1) == 1 or mask.shape[-1] == 1
            assert mask.dtype in (torch.bool, query.dtype)


def test_windows_and_maps_are_moved_in_the_format_that_they_are_multiplied_in(monkeypatch):
    model, moved = build_model(make_tiny_cfg()), []
    to_windows = swin_stage.to_windows
    monkeypatch.setattr(
        swin_stage, "to_windows", lambda x, *how: moved.append(x.dtype) or to_windows(x, *how)
    )
    model.decoder.register_forward_pre_hook(
        lambda _, inputs: moved.extend(map_.dtype for map_ in inputs[0].values())
    )
    norm = torch.nn.functional.layer_norm  # CUDA's autocast has it answer in float32
    monkeypatch.setattr(
        torch.nn.functional, "layer_norm", lambda x, *how, **eps: norm(x.float(), *how, **eps)
    )
    with torch.autocast("cpu", torch.bfloat16):
        forward_counts(model, [make_sample(is_train=False)])
    assert moved == [torch.bfloat16] * (5 + 4)  # blocks, and stages of the pyramid


def test_a_shift_mask_is_built_once_for_a_size():
    cfg = make_tiny_cfg()
    cfg.MODEL.SWIN.DEPTHS = (2, 2, 4, 2)
    model, batch = build_model(cfg), [make_sample(is_train=False)]
    forward_counts(model, batch)
    built = shift_mask.cache_info().misses
    forward_counts(model, batch)
    assert shift_mask.cache_info().misses == built


def test_a_mask_built_in_inference_serves_training():
    cfg = make_tiny_cfg()
    shift_mask.cache_clear()
    model = build_model(cfg)
    with torch.inference_mode():
        model.eval()([make_sample(is_train=False)])
    sum(model.train()([make_sample()]).values()).backward()


@pytest.mark.parametrize("alignment", ["SMGAM", "FIAM"])
def test_a_sentence_asked_of_many_images_is_encoded_once(alignment, monkeypatch):
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NAME = alignment
    model = build_model(cfg).eval()
    first, second = make_sample(seed=0), make_sample(seed=1)
    words = {key: first[key] for key in model.text_encoder.reads}
    batch = [first, second, {**second, **words}]
    with torch.no_grad():
        expected = torch.stack([model([sample])[0]["sem_seg"] for sample in batch])
        encoded = []
        read = model.text_encoder.read
        monkeypatch.setattr(
            model.text_encoder, "read", lambda ids, *masks: encoded.append(ids) or read(ids, *masks)
        )
        together = torch.stack([output["sem_seg"] for output in model(batch)])
    assert all(len(ids) == 2 for ids in encoded)
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-4)


def test_the_host_reads_nothing_of_a_step_before_the_backward_pass_is_queued(tiny_cfg):
    # Tensors on the meta device have no values: whatever asks for one raises.
    tiny_cfg.MODEL.DEVICE = "meta"
    model = build_model(tiny_cfg).train()
    batch = [make_sample(seed=0), make_sample(seed=1, num_tokens=12)]
    losses = model(batch)
    HostLosses(losses)
    sum(losses.values()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def test_a_step_reads_only_its_losses_and_after_backward(tiny_cfg):
    model = build_model(tiny_cfg)
    step = TrainingStep(
        model=model,
        data_loader=[[make_sample(seed=0), make_sample(seed=1, num_tokens=12)]],
        optimizer=build_optimizer(tiny_cfg, model),
        device=torch.device("cpu"),
        dtype="bfloat16",
        max_grad_norm=1.0,
        seed=1,
    )
    step.iter = 0
    step._write_metrics = lambda *_: None  # it has the losses on the host already
    with OperatorCount() as operators:
        step.run_step()
    reads = Counter(
        {name: count for name, count in operators.counts.items() if name.startswith(HOST_READS)}
    )
    assert reads.total() <= 1  # whether their sum is finite


def test_the_decoders_wide_convolutions_take_the_short_way(tiny_cfg, monkeypatch):
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 8)
    monkeypatch.setattr(convolution, "FEWEST_POSITIONS", 1)
    model, batch = build_model(tiny_cfg), [make_sample(is_train=False)]
    names = ("aten.convolution.default", "aten.mkldnn_convolution.default")
    short = forward_counts(model, batch)
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 10_000)
    long = forward_counts(model, batch)
    assert sum(long[name] - short[name] for name in names) == 6  # two at each of three levels


def test_the_papers_model_costs_what_it_did():
    cfg = get_cfg()
    add_cadformer_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.TEXT_ENCODER.WEIGHTS = "meta", ""
    with zeros_for_random_weights():
        model = build_model(cfg)
    assert count_parameters(model).total() == 279_827_581
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model.eval()([random_sample(cfg, 20)])
    counts = flops.get_flop_counts()
    # Half of PyTorch's number: it counts a multiplication and an addition as two.
    expected = {"text_encoder": 1.706, "backbone": 93.20, "decoder": 276.26}
    for component, giga in expected.items():
        measured = sum(counts[f"CADFormer.{component}"].values()) / 2e9
        assert measured == pytest.approx(giga, rel=1e-3), component
