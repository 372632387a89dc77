"""The component that docs/extending.md tells a stranger to write works as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import BACKBONE_REGISTRY, build_model

from cadformer_d2.engine.config_checks import refuse_small_vocabulary
from cadformer_d2.model_cost import part_of
from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.text_encoder import TEXT_ENCODER_REGISTRY

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def run_page(name, *, package):
    """Run the page's file with a class, as if it lay in a package."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if f"class {name}" in block)
    exec(code, {"__name__": f"{package}.added", "__package__": package})


# Each registered while a test runs; the other tests do not see it.


@pytest.fixture
def mean_word():
    run_page("MeanWordAlignment", package="cadformer_d2.modeling.alignment")
    yield "MeanWordAlignment"
    del ALIGNMENT_REGISTRY._obj_map["MeanWordAlignment"]


@pytest.fixture
def recurrent():
    run_page("RecurrentTextEncoder", package="cadformer_d2.modeling.text_encoder")
    yield "RecurrentTextEncoder"
    del TEXT_ENCODER_REGISTRY._obj_map["RecurrentTextEncoder"]


@pytest.fixture
def convolution_pyramid():
    run_page("ConvolutionPyramid", package="cadformer_d2.modeling.backbone")
    yield "ConvolutionPyramid"
    del BACKBONE_REGISTRY._obj_map["ConvolutionPyramid"]


def test_the_pages_alignment_trains(mean_word):
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NAME = mean_word
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_pages_text_encoder_trains_and_does_not_see_padding(recurrent):
    cfg = make_tiny_cfg()
    cfg.MODEL.TEXT_ENCODER.NAME, cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE = recurrent, 20
    model = build_model(cfg)
    samples = [make_sample(seed=0), make_sample(seed=1, num_tokens=12)]
    sum(model.train()(samples).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        (alone,), (padded, _) = model.eval()(samples[:1]), model(samples)
    torch.testing.assert_close(padded["sem_seg"], alone["sem_seg"], atol=1e-5, rtol=1e-4)
    refuse_small_vocabulary(cfg)


def test_the_pages_backbone_trains_and_keeps_the_laws(convolution_pyramid):
    cfg = make_tiny_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.POSITION.NAME = convolution_pyramid, "sincos"
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = ("backbone",)
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    samples = [make_sample(seed=i, size=(81, 133), num_tokens=3 + 9 * i) for i in range(2)]
    with torch.no_grad():
        (alone,), (padded, _) = model.eval()(samples[:1]), model(samples)
    torch.testing.assert_close(padded["sem_seg"], alone["sem_seg"], atol=1e-5, rtol=1e-4)
    assert part_of(model, "backbone.stages.0") == "convolutions"
