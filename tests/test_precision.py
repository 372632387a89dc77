"""Number formats of inference."""

from collections import Counter

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch.utils._python_dispatch import TorchDispatchMode

from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.presence.build import PRESENCE_REGISTRY
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.precision import autocast, cast_product_weights

COMPONENTS = [
    *(("ALIGNMENT", name) for name in registered_names(ALIGNMENT_REGISTRY)),
    *(("NECK", name) for name in registered_names(NECK_REGISTRY)),
    *(("DECODER", name) for name in registered_names(DECODER_REGISTRY)),
    *(("PRESENCE", name) for name in registered_names(PRESENCE_REGISTRY)),
    ("POSITION", "sincos"),
]


class Casts(TorchDispatchMode):
    """Counts operators within the context."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("component, name", COMPONENTS)
def test_weights_held_in_the_format_of_products_change_no_bit_and_save_their_casts(component, name):
    cfg = make_tiny_cfg()
    cfg.MODEL[component].NAME = name
    torch.manual_seed(0)
    model, batch = build_model(cfg).eval(), [make_sample(is_train=False)]
    found, casts = [], []
    for held in (False, True):
        if held:
            cast_product_weights(model, "bfloat16")
        with torch.no_grad(), autocast(model.device, "bfloat16"), Casts() as operators:
            found.append(model(batch)[0]["sem_seg"])
        casts.append(operators.counts["aten._to_copy.default"])
    assert torch.equal(*found)
    assert casts[0] - casts[1] > 60


def test_weights_stay_as_they_are_without_another_format(tiny_cfg):
    model = build_model(tiny_cfg)
    cast_product_weights(model, "float32")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
