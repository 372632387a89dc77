import pytest
import torch
from conftest import make_sample
from detectron2.modeling import build_model
from torch._dynamo.utils import counters

SIZES, TOKENS = ((64, 64), (80, 48)), (5, 9)
OF_IMAGES = 5 + 3  # blocks and fusions
OF_SENTENCES = 4 + 2  # alignments and the decoder's Transformer layers


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
    model.compile(backend="eager")
    for batch, expected in zip(batches, plain, strict=True):
        torch.testing.assert_close(model(batch)[0]["sem_seg"], expected, rtol=0, atol=1e-6)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= len(SIZES) * (
        OF_IMAGES + len(TOKENS) * OF_SENTENCES
    )


def test_compiled_blocks_of_different_drop_rates_share_a_graph_in_training(model):
    stage = model.backbone.stages[2].train()
    x = torch.rand(2, 64, 64, requires_grad=True)
    for block in stage.blocks:
        block.compile(backend="eager", dynamic=False)
    stage(x, 8, 8).sum().backward()
    assert counters["stats"]["unique_graphs"] == 2  # plain and shifted
    assert all(block.attn.qkv.weight.grad is not None for block in stage.blocks)
