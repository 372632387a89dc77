import math

import pytest
import torch
import torch.nn.functional as F

from cadformer_d2.layers.rotated_conv import (
    AdaptiveRotatedConv2d,
    rotate_by_output_channel,
    rotation_matrices,
)


def published_table(angle):
    """The closed form of the rotation as published, cell by cell."""
    x, y = math.cos(angle), math.sin(angle)
    a, b, c = x - y, x * y, x + y
    rows = {
        True: [
            {0: a, 1: 1 - a},
            {1: x - b, 2: b, 4: 1 - c + b, 5: y - b},
            {2: a, 5: 1 - a},
            {0: b, 1: y - b, 3: x - b, 4: 1 - c + b},
            {4: 1},
            {4: 1 - c + b, 5: x - b, 7: y - b, 8: b},
            {3: 1 - a, 6: a},
            {3: y - b, 4: 1 - c + b, 6: b, 7: x - b},
            {7: 1 - a, 8: a},
        ],
        False: [
            {0: c, 3: 1 - c},
            {0: -b, 1: x + b, 3: b - y, 4: 1 - a - b},
            {1: 1 - c, 2: c},
            {3: x + b, 4: 1 - a - b, 6: -b, 7: b - y},
            {4: 1},
            {1: b - y, 2: -b, 4: 1 - a - b, 5: x + b},
            {6: c, 7: 1 - c},
            {4: 1 - a - b, 5: b - y, 7: x + b, 8: -b},
            {5: 1 - c, 8: c},
        ],
    }[angle >= 0]
    matrix = torch.zeros(9, 9)
    for new_cell, weights in enumerate(rows):
        for old_cell, weight in weights.items():
            matrix[new_cell, old_cell] = weight
    return matrix


@pytest.mark.parametrize("degrees", [-40, -20, -0.5, 0, 3, 30, 40])
def test_rotation_is_the_published_table(degrees):
    angle = math.radians(degrees)
    matrix = rotation_matrices(torch.tensor(angle))
    torch.testing.assert_close(matrix, published_table(angle), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(9))


def test_angle_zero_and_weight_one_is_an_ordinary_convolution(monkeypatch):
    torch.manual_seed(0)
    conv = AdaptiveRotatedConv2d(in_channels=4, out_channels=6)
    x = torch.randn(3, 4, 7, 9)
    monkeypatch.setattr(conv.router, "forward", lambda x: (torch.zeros(3, 1), torch.ones(3, 1)))
    expected = F.conv2d(x, conv.weight[0], padding=1)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_kernels", [1, 3])
def test_each_image_is_convolved_with_its_own_kernel(num_kernels):
    torch.manual_seed(0)
    conv = AdaptiveRotatedConv2d(in_channels=4, out_channels=6, num_kernels=num_kernels).eval()
    x = torch.randn(3, 4, 7, 9)
    alone = torch.cat([conv(sample[None]) for sample in x])
    torch.testing.assert_close(conv(x), alone, atol=1e-5, rtol=1e-5)


def test_the_angle_learns():
    torch.manual_seed(0)
    conv = AdaptiveRotatedConv2d(in_channels=4, out_channels=6)
    conv(torch.randn(2, 4, 7, 9)).square().sum().backward()
    assert conv.router.angle_head.weight.grad.abs().max() > 0


def test_kernels_are_rotated_in_float32_under_mixed_precision():
    convolution = AdaptiveRotatedConv2d(in_channels=8, out_channels=8, num_kernels=2)
    angles, weights = torch.rand(3, 2) - 0.5, torch.rand(3, 2)
    wanted = convolution.rotate_kernels(angles, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(convolution.rotate_kernels(angles, weights), wanted)


def test_turning_by_output_channel_is_the_same_linear_map():
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(3, 2, 9, 9, generator=generator, dtype=torch.float64)
    base = torch.rand(2, 5, 4, 9, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        rotate_by_output_channel(turn, base), torch.einsum("bnkm,noim->boik", turn, base)
    )
