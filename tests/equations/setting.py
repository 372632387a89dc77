"""Small models and inputs in float64, in which nothing is square, alike or trivial."""

from __future__ import annotations

import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.layers import ShapeSpec

from cadformer_d2.structures import TextFeatures

EXACT = 1e-9
ROWS_AND_COLUMNS = ((11, 14), (6, 7), (3, 4), (2, 2))  # of the four maps: odd and even sides
IS_TOKEN = torch.tensor([[True] * 5 + [False] * 2, [True] * 7, [True] * 3 + [False] * 4])
IS_OBJECT = torch.zeros_like(IS_TOKEN)  # a sentence may have no word for its object
IS_OBJECT[0, 1:4] = IS_OBJECT[2, 1:3] = True
IS_POSITION = IS_TOKEN & ~IS_OBJECT


@pytest.fixture
def in_float64(monkeypatch):
    """What the product computes in float32 on purpose it computes in float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def tiny_cfg(**names):
    """The tests' config with a component of a role chosen: ``tiny_cfg(NECK="CIM")``."""
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NUM_HEADS = (1, 2, 4, 2)
    cfg.MODEL.SWIN.DEPTHS = (2, 2, 2, 1)
    cfg.MODEL.DECODER.NUM_KERNELS, cfg.MODEL.NECK.NUM_BLOCKS = 2, 2
    for role, name in names.items():
        cfg.MODEL[role].NAME = name
    return cfg


def normal(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def sentences(dim):
    """Three sentences of which two are padded, each read for its roles as well."""
    readings = [
        TextFeatures(normal(*IS_TOKEN.shape, dim, seed=seed), mask)
        for seed, mask in enumerate((IS_TOKEN, IS_OBJECT, IS_POSITION), start=1)
    ]
    return TextFeatures(readings[0].tokens, IS_TOKEN, *readings[1:])


def shapes(cfg):
    return {
        f"stage{i + 1}": ShapeSpec(channels=cfg.MODEL.SWIN.EMBED_DIM * 2**i, stride=4 * 2**i)
        for i in range(4)
    }


def pyramid(cfg):
    return {
        name: normal(len(IS_TOKEN), spec.channels, *size, seed=size[0])
        for (name, spec), size in zip(shapes(cfg).items(), ROWS_AND_COLUMNS, strict=True)
    }


def assert_equal(actual, expected, tolerance=EXACT):
    assert expected.abs().max() > 1e-3, "an equation that gives nothing would compare nothing"
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * expected.abs().max())


def equation_of(equations, name):
    assert name in equations, (
        f"{name} is registered without an equation; write it in tests/equations"
    )
    return equations[name]
