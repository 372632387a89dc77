"""Windows gathered at once are those that Swin pads, shifts and splits step by step."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.swin import window_partition, window_reverse

from cadformer_d2.layers.windows import from_windows, to_windows, window_places

SIDE = 4
CASES = [((8, 12), 0), ((8, 12), 2), ((7, 9), 0), ((7, 9), 2), ((1, 3), 2)]


def step_by_step(x, map_size, shift):
    bottom, right = (-side % SIDE for side in map_size)
    x = F.pad(x.unflatten(1, map_size), (0, 0, 0, right, 0, bottom))
    windows = window_partition(x.roll((-shift, -shift), dims=(1, 2)), SIDE)
    return windows.reshape(len(x), -1, x.shape[-1])


def joined_step_by_step(windows, map_size, shift):
    height, width = map_size
    padded = (height + -height % SIDE, width + -width % SIDE)
    x = window_reverse(windows.reshape(-1, SIDE, SIDE, windows.shape[-1]), SIDE, *padded)
    return x.roll((shift, shift), dims=(1, 2))[:, :height, :width].flatten(1, 2)


def assert_same(ours, theirs, x):
    """Values and gradients of two functions of one tensor, bit by bit."""
    x.requires_grad_()
    results = ours(x), theirs(x)
    assert torch.equal(*results)
    weight = torch.randn(results[0].shape, dtype=x.dtype)
    assert torch.equal(*(torch.autograd.grad(y, x, weight)[0] for y in results))


@pytest.mark.parametrize("map_size, shift", CASES)
def test_windows_are_those_of_detectron2_and_so_are_gradients(map_size, shift):
    torch.manual_seed(0)
    places = window_places(map_size, SIDE, shift, torch.device("cpu"))
    x = torch.randn(2, map_size[0] * map_size[1], 3, dtype=torch.float64)
    assert_same(lambda x: to_windows(x, places), lambda x: step_by_step(x, map_size, shift), x)
    windows = torch.randn(2, len(places[0]), 3, dtype=torch.float64)
    assert_same(
        lambda x: from_windows(x, places),
        lambda x: joined_step_by_step(x, map_size, shift),
        windows,
    )


def test_a_map_comes_back_and_padding_is_zero():
    x = torch.rand(2, 35, 3) + 1
    places = window_places((5, 7), SIDE, 2, torch.device("cpu"))
    windows = to_windows(x, places)
    assert torch.equal(from_windows(windows, places), x)
    assert (windows == 0).sum() == windows.numel() - x.numel()
