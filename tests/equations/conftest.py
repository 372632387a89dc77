"""Random weights of every kind, in float64, so that no norm and no bias is trivially 1 or 0."""

import pytest
import torch
from torch import nn

SEED = 0


@pytest.fixture(autouse=True)
def float64():
    """Everything within a test is made in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(SEED)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def randomized():
    """Draws all weights, statistics and biases of a module, and puts it into evaluation mode."""

    def draw(module):
        with torch.no_grad():
            for part in module.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.running_mean.normal_(std=0.5)
                    part.running_var.uniform_(0.5, 2)
                for name, parameter in part.named_parameters(recurse=False):
                    is_norm = "Norm" in type(part).__name__
                    if is_norm and name == "weight":
                        parameter.uniform_(0.5, 1.5)
                    else:
                        parameter.normal_(std=0.3)
        return module.double().eval()

    return draw


def same(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
