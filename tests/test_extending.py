"""The component that docs/extending.md tells a stranger to write works as it stands there."""

import re
from pathlib import Path

import pytest
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model

from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


@pytest.fixture
def mean_word():
    """The page's alignment, registered while a test runs; the other tests do not see it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "class MeanWordAlignment" in block)
    package = "cadformer_d2.modeling.alignment"
    exec(code, {"__name__": f"{package}.mean_word", "__package__": package})
    yield "MeanWordAlignment"
    del ALIGNMENT_REGISTRY._obj_map["MeanWordAlignment"]


def test_the_pages_alignment_trains(mean_word):
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NAME = mean_word
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
