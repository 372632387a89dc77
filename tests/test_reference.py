"""The product's fast operators compute what the plain ones do, in value and in gradient."""

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from equations.setting import in_float64  # noqa: F401

from cadformer_d2.benchmark.plain_operators import plain_operators
from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.registry import registered_names

CHOICES = [
    (role, name)
    for role, registry in (
        ("ALIGNMENT", ALIGNMENT_REGISTRY),
        ("NECK", NECK_REGISTRY),
        ("DECODER", DECODER_REGISTRY),
    )
    for name in registered_names(registry)
]
SIZES = [(64, 64), (72, 100)]  # whole windows, and windows that are padded
RELATIVE = 1e-4


def build(role, name):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    cfg.MODEL.SWIN.DEPTHS, cfg.MODEL.DECODER.NUM_KERNELS = (2, 2, 2, 1), 2
    cfg.MODEL.ALIGNMENT.NUM_HEADS = (1, 2, 1, 2)
    cfg.MODEL.SWIN.DROP_PATH_RATE = cfg.MODEL.DECODER.DROPOUT = cfg.MODEL.TEXT_ENCODER.DROPOUT = 0.0
    cfg.MODEL[role].NAME = name
    model = build_model(cfg)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # some are part of a component
            module.p = 0.0
    with torch.no_grad():  # relative positions start near nothing
        for key, parameter in model.named_parameters():
            if key.endswith("bias_table"):
                parameter.normal_()
    return model


def samples(size):
    return [make_sample(seed=seed, size=size, num_tokens=7 + 4 * seed) for seed in range(2)]


def assert_close(actual, expected, name, *, noise=0.0):
    allowed = RELATIVE * expected.abs().max() + noise
    assert (actual - expected).abs().max() <= allowed, name


def gradients(model, batch):
    model.zero_grad()
    losses = model.train()(batch)
    sum(losses.values()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("role", "name"), CHOICES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outputs_agree_with_the_plain_operators(role, name, size):
    model, batch = build(role, name).eval(), samples(size)
    with torch.no_grad():
        fast = model(batch)
        with plain_operators():
            plain = model(batch)
    for ours, expected in zip(fast, plain, strict=True):
        assert_close(ours["sem_seg"], expected["sem_seg"], name)


@pytest.mark.parametrize(("role", "name"), CHOICES)
def test_gradients_agree_with_the_plain_operators(role, name, in_float64):  # noqa: F811
    # In float64: with two samples on CIM's grid of twelve positions a batch norm turns float32's
    # rounding into per cents of a gradient, with either kind of operator.
    model = build(role, name).double()
    batch = [{**sample, "image": sample["image"].double()} for sample in samples((72, 100))]
    fast = gradients(model, batch)
    with plain_operators():
        plain = gradients(model, batch)
    # Some gradients are zero in exact arithmetic (a bias in front of a norm): rounding alone.
    noise = 1e-6 * max(float(gradient.abs().max()) for gradient in plain.values())
    for key, expected in plain.items():
        assert_close(fast[key], expected, key, noise=noise)
