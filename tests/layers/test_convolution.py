"""The fast 3 x 3 convolution is a convolution."""

import copy

import pytest
import torch
import torch.nn.functional as F

from cadformer_d2.layers.convolution import (
    Convolution3x3,
    convolve_3x3,
    convolve_per_image,
    is_winograd_faster,
)

WIDE, POSITIONS = 128, (47, 50)  # sides that are no multiples of the tile's step


def make(*, channels=WIDE, size=POSITIONS, batch=1, kernels=1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, *size, generator=generator, requires_grad=True)
    weight = torch.randn(kernels, channels, channels, 3, 3, generator=generator) * 0.03
    return x, weight.requires_grad_()


def plain(x, kernels):
    kernels = kernels.expand(len(x), -1, -1, -1, -1)
    maps = [F.conv2d(image[None], k, padding=1) for image, k in zip(x, kernels, strict=True)]
    return torch.cat(maps)


CASES = [{}, {"batch": 2}, {"batch": 2, "kernels": 2}, {"channels": 24}, {"size": (5, 6)}]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients_are_those_of_a_convolution(case):
    x, kernels = make(**case)
    ours, expected = convolve_3x3(x, kernels), plain(x, kernels)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad((ours * weights).sum(), (x, kernels))
    wanted = torch.autograd.grad((expected * weights).sum(), (x, kernels))
    for ours, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_the_short_way_is_for_wide_large_float32_maps():
    x, kernels = make()
    assert is_winograd_faster(x, kernels)
    assert not is_winograd_faster(*make(channels=24))
    assert not is_winograd_faster(*make(size=(5, 6)))
    assert not is_winograd_faster(x.double(), kernels.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not is_winograd_faster(x, kernels)


def test_weights_are_those_of_an_ordinary_convolution():
    torch.manual_seed(0)
    ordinary = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    torch.manual_seed(0)
    ours = Convolution3x3(3, 5)
    assert ours.state_dict().keys() == ordinary.state_dict().keys()
    assert torch.equal(ours.weight, ordinary.weight)


def relative(actual, expected):
    return float((actual.double() - expected).abs().max() / expected.abs().max())


def test_outlier_channels_cost_no_more_than_a_few_units_of_the_fifth_digit():
    x, kernels = (tensor.detach() for tensor in make())
    x[:, :4] *= 30
    exact = F.conv2d(x.double(), kernels[0].double(), padding=1)
    assert relative(convolve_3x3(x, kernels), exact) < 4e-5


class HeldSigns(torch.nn.Module):
    """A ReLU that lets through what another pass let through."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes

    def forward(self, x):
        return x * self.passes


def test_gradients_in_training_are_exact_where_no_relu_changes_its_mind():
    """Two convolutions with norms and ReLUs, as in a decoder's level, against float64.

    Gradients of float32 jump where a value within rounding of zero changes its sign, with a plain
    convolution as well. With the signs held they must agree.
    """
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        *(Convolution3x3(WIDE, WIDE), torch.nn.BatchNorm2d(WIDE), torch.nn.ReLU()),
        *(Convolution3x3(WIDE, WIDE), torch.nn.BatchNorm2d(WIDE), torch.nn.ReLU()),
    ).train()
    x, _ = make(batch=2)
    weights = torch.randn(2, WIDE, *POSITIONS)
    exact = copy.deepcopy(layers).double()
    signs = []
    for module in exact:
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, __, output: signs.append(output > 0))
    (exact(x.double()) * weights.double()).sum().backward()
    for index, passes in zip((2, 5), signs, strict=True):
        layers[index] = HeldSigns(passes)
    assert is_winograd_faster(x, layers[0].weight[None])
    (layers(x) * weights).sum().backward()
    for ours, expected in zip(layers.parameters(), exact.parameters(), strict=True):
        assert relative(ours.grad, expected.grad) < 5e-5


def test_images_one_by_one_give_the_same_maps_and_gradients():
    x, kernels = make(channels=6, size=(5, 7), batch=3, kernels=3)
    ours, expected = convolve_per_image(x, kernels), plain(x, kernels)
    torch.testing.assert_close(ours, expected)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    weights = torch.rand_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), (x, kernels)),
        torch.autograd.grad((expected * weights).sum(), (x, kernels)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
