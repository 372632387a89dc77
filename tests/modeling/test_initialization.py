"""Linear maps start as the releases start theirs."""

import pytest
from detectron2.layers import ShapeSpec
from torch import nn

from cadformer_d2.modeling.alignment.fiam import ChannelModulation
from cadformer_d2.modeling.neck.lgce import LGCE
from cadformer_d2.modeling.neck.tmem import TMEM

SHAPE = {f"stage{i + 1}": ShapeSpec(channels=64 * 2**i, stride=4 * 2**i) for i in range(4)}


def linear_maps(name):
    if name == "TMEM":
        blocks = TMEM(input_shape=SHAPE, text_dim=64, num_blocks=1).blocks
        return [module for block in blocks for module in block.mlp if isinstance(module, nn.Linear)]
    component = {
        "LGCE": lambda: LGCE(input_shape=SHAPE, text_dim=64),
        "ChannelModulation": lambda: ChannelModulation(dim=512),
    }[name]()
    return [module for module in component.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("name", ["TMEM", "LGCE", "ChannelModulation"])
def test_weights_start_with_a_deviation_of_002_and_biases_at_zero(name):
    for linear in linear_maps(name):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert linear.bias is None or not linear.bias.detach().any()
