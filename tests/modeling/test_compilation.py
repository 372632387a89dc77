import copy

import pytest
import torch
from conftest import make_sample
from detectron2.modeling import build_model
from torch._dynamo.utils import counters

from cadformer_d2.modeling.compilation import compile_repeated

SIZES, TOKENS = ((64, 64), (80, 48)), (5, 9)


@pytest.fixture
def model(tiny_cfg):
    tiny_cfg.MODEL.SWIN.DEPTHS = (1, 1, 4, 1)
    torch._dynamo.reset()
    counters.clear()
    yield build_model(tiny_cfg)
    torch._dynamo.reset()


@torch.no_grad()
def test_repeated_parts_share_graphs_and_answer_as_before_at_every_size(model):
    model.eval()
    batches = [[make_sample(size=size, num_tokens=n)] for size in SIZES for n in TOKENS]
    plain = [model(batch)[0]["sem_seg"] for batch in batches]
    compiled = compile_repeated(copy.deepcopy(model), backend="eager")
    model.compile(backend="eager")
    made = []
    for batch, expected in zip(batches, plain, strict=True):
        before = counters["stats"]["unique_graphs"]
        torch.testing.assert_close(model(batch)[0]["sem_seg"], expected, rtol=0, atol=1e-6)
        made.append(counters["stats"]["unique_graphs"] - before)
    assert not counters["graph_break"]
    for of_first_length, of_other_length in (made[:2], made[2:]):  # of one size of image
        assert of_first_length < len(compiled)  # blocks of a stage share
        assert of_other_length == 0  # both are padded to the same length


@torch.no_grad()
def test_mixed_precision_breaks_no_graph_and_a_second_call_makes_none(model):
    model.eval().compile(backend="eager")
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model([make_sample()])
        graphs = counters["stats"]["unique_graphs"]
    assert not counters["graph_break"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model([make_sample(seed=1)])
    assert counters["stats"]["unique_graphs"] == graphs


def test_compiled_blocks_of_different_drop_rates_share_a_graph_in_training(model):
    stage = model.backbone.stages[2].train()
    x = torch.rand(2, 64, 64, requires_grad=True)
    for block in stage.blocks:
        block.compile(backend="eager", dynamic=False)
    stage(x, 8, 8).sum().backward()
    assert counters["stats"]["unique_graphs"] == 2  # plain and shifted
    assert all(block.attn.qkv.weight.grad is not None for block in stage.blocks)
