"""Every registered component computes its equation, on random weights, to 1e-9."""

import dataclasses

import pytest
import torch
from detectron2.layers import ShapeSpec

from cadformer_d2.layers.convolution import convolve_3x3_winograd
from cadformer_d2.layers.rotated_conv import AdaptiveRotatedConv2d
from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY, AlignmentSpec
from cadformer_d2.modeling.backbone.swin_stage import SwinStage
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.neck.build import NECK_REGISTRY
from cadformer_d2.modeling.position import SinCosPosition
from cadformer_d2.modeling.presence.build import PRESENCE_REGISTRY
from cadformer_d2.modeling.registry import registered_names
from cadformer_d2.modeling.text_encoder import TEXT_ENCODER_REGISTRY
from cadformer_d2.structures import StageInput

from .alignment import ALIGNMENTS
from .decoder import DECODERS, adaptive_rotated_convolution
from .encoders import encoded, sine_cosine, swin_stage
from .neck import NECKS
from .notation import Weights, convolve, randomized
from .presence import PRESENCES
from .setting import (
    IS_OBJECT,
    IS_POSITION,
    IS_TOKEN,
    assert_equal,
    equation_of,
    in_float64,  # noqa: F401
    normal,
    pyramid,
    sentences,
    shapes,
    tiny_cfg,
)

pytestmark = pytest.mark.usefixtures("in_float64")
# The other families are compared with their own library in tests/modeling/test_text_encoder.py.
TEXT_ENCODERS = {"BertTextEncoder": encoded, "HuggingFaceTextEncoder": encoded}
BERT_OF_TINY_CFG = (
    'json:{"model_type": "bert", "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, '
    '"num_attention_heads": 2, "intermediate_size": 64}'
)
every_alignment = pytest.mark.parametrize("name", registered_names(ALIGNMENT_REGISTRY))


def build_alignment(name, **changes):
    cfg = tiny_cfg(ALIGNMENT=name)
    cfg.MODEL.ALIGNMENT.DECODER_FEATURE = changes.pop("feature", "gated")
    cls = ALIGNMENT_REGISTRY.get(name)
    spec = AlignmentSpec(
        stage=1, visual_dim=16, text_dim=12, feeds_next_stage=True, text_is_read=True
    )
    module, w = randomized(cls(cfg, dataclasses.replace(spec, **changes)))
    map_size = (3, 5)
    V, X = normal(3, 15, 16), normal(3, 15, 16, seed=9)
    text = sentences(12)
    expected = equation_of(ALIGNMENTS, name)(w, V, text, map_size, 2, X)
    return module(StageInput(V, text, map_size, X)), text, expected


@every_alignment
def test_an_alignment_is_its_equation(name):
    for feature in ("gated", "fused"):
        ours, text, (F, gated, update, refined) = build_alignment(name, feature=feature)
        assert_equal(ours.fused, gated if feature == "gated" else F)
        assert_equal(ours.visual_update, update)
        assert_equal(ours.text.tokens[IS_TOKEN], refined[IS_TOKEN])
        assert torch.equal(ours.text.is_token, text.is_token)
        assert ours.text.object_words is text.object_words


@every_alignment
def test_an_alignment_without_a_next_stage_updates_nothing(name):
    for feature in ("gated", "fused"):
        last = {"feeds_next_stage": False, "text_is_read": False, "feature": feature}
        ours, text, (F, gated, *_) = build_alignment(name, **last)
        assert_equal(ours.fused, gated if feature == "gated" else F)
        assert ours.visual_update is None
        assert ours.text.tokens is text.tokens
        assert gated is None or feature == "gated", "a gate that nobody reads was built"


@pytest.mark.parametrize("name", registered_names(NECK_REGISTRY))
def test_a_neck_is_its_equation(name):
    cfg = tiny_cfg(NECK=name)
    cfg.INPUT.SIZE = (96, 130)  # a grid of 3 x 5, which is CIM's and not the coarsest map's
    module, w = randomized(NECK_REGISTRY.get(name)(cfg, shapes(cfg), ShapeSpec(channels=12)))
    maps, text = pyramid(cfg), sentences(12)
    expected = equation_of(NECKS, name)(w, maps, text, 2, (3, 5))
    ours = module(maps, text)
    assert list(ours) == list(maps)
    for stage in maps:
        assert_equal(ours[stage], expected[stage])


@pytest.mark.parametrize("text_dim", [12, 24])
@pytest.mark.parametrize("name", registered_names(DECODER_REGISTRY))
def test_a_decoder_is_its_equation(name, text_dim):
    cfg = tiny_cfg(DECODER=name)
    text_shape = ShapeSpec(channels=text_dim)
    module, w = randomized(DECODER_REGISTRY.get(name)(cfg, shapes(cfg), text_shape))
    maps, text = pyramid(cfg), sentences(text_dim)
    expected = equation_of(DECODERS, name)(w, maps, text, cfg.MODEL.DECODER.NUM_HEADS)
    assert_equal(module(maps, text), expected)


@pytest.mark.parametrize("name", registered_names(PRESENCE_REGISTRY))
@pytest.mark.parametrize("subpixels", [1, 2])
def test_a_presence_component_is_its_equation(name, subpixels):
    cfg = tiny_cfg(PRESENCE=name)
    cfg.MODEL.PRESENCE.MIN_AREA = 0.3
    module, w = randomized(
        PRESENCE_REGISTRY.get(name)(cfg, shapes(cfg), ShapeSpec(channels=12)),
    )
    maps, text = pyramid(cfg), sentences(12)
    rows, columns = maps["stage1"].shape[-2:]
    logits = normal(3, 2, subpixels * rows, subpixels * columns, seed=4)
    expected = equation_of(PRESENCES, name)(w, maps, text, logits, min_area=0.3)
    assert expected.std() > 1e-3
    assert_equal(module(maps, text, logits), expected)


def test_a_decoder_in_training_normalises_by_its_batch():
    cfg = tiny_cfg(DECODER="SimpleDecoding")
    cls, no_text = DECODER_REGISTRY.get("SimpleDecoding"), ShapeSpec()
    module, w = randomized(cls(cfg, shapes(cfg), no_text))
    without_statistics = Weights({k: v for k, v in w.tensors.items() if "running" not in k})
    maps = pyramid(cfg)
    expected = DECODERS["SimpleDecoding"](without_statistics, maps, None, None)
    assert_equal(module.train()(maps, None), expected)


def test_the_fast_convolution_is_the_sum_over_the_kernels_cells():
    x, kernels = normal(2, 3, 7, 9), normal(2, 4, 3, 3, 3, seed=1)
    images = zip(x, kernels, strict=True)
    expected = torch.cat([convolve(image[None], kernel, padding=1) for image, kernel in images])
    assert_equal(convolve_3x3_winograd(x, kernels), expected)


@pytest.mark.parametrize("num_kernels", [1, 3])
def test_the_adaptive_rotated_convolution_is_its_equation(num_kernels):
    module, w = randomized(
        AdaptiveRotatedConv2d(in_channels=6, out_channels=4, num_kernels=num_kernels)
    )
    x = normal(3, 6, 5, 7)
    assert_equal(module(x), adaptive_rotated_convolution(w, x))


@pytest.mark.parametrize("name", registered_names(TEXT_ENCODER_REGISTRY))
@pytest.mark.parametrize("num_layers", [0, 2])
def test_a_text_encoder_is_its_equation(name, num_layers):
    cfg = tiny_cfg(TEXT_ENCODER=name)
    cfg.MODEL.ALIGNMENT.NAME, cfg.MODEL.TEXT_ENCODER.NUM_LAYERS = "FIAM", num_layers
    cfg.MODEL.TEXT_ENCODER.CONFIG = BERT_OF_TINY_CFG
    module, w = randomized(TEXT_ENCODER_REGISTRY.get(name)(cfg))
    assert module.reads == ("input_ids", "attention_mask", "is_object", "is_position")
    input_ids = torch.arange(IS_TOKEN.numel()).view(IS_TOKEN.shape) * IS_TOKEN  # [PAD] is 0
    fields = (input_ids, IS_TOKEN.long(), IS_OBJECT, IS_POSITION)
    ours = module(*fields)
    expected = equation_of(TEXT_ENCODERS, name)(w, *fields, heads=cfg.MODEL.TEXT_ENCODER.NUM_HEADS)
    for mine, theirs in (
        (ours, expected),
        (ours.object_words, expected.object_words),
        (ours.position_words, expected.position_words),
    ):
        assert_equal(mine.tokens, theirs.tokens)
        assert torch.equal(mine.is_token, theirs.is_token)
    assert module(*fields[:2]).object_words is None


@pytest.mark.parametrize("size", [(8, 12), (9, 6)], ids=str)
def test_a_stage_of_swin_is_its_equation(size):
    module, w = randomized(SwinStage(dim=8, depth=4, num_heads=2, window_size=4))
    x = normal(2, size[0] * size[1], 8)
    assert_equal(module(x, *size), swin_stage(w, x, size, depth=4, window=4, heads=2))


def test_the_position_signal_is_its_equation():
    module, w = randomized(SinCosPosition(dim=5, num_waves=3))
    # Its wave numbers are kept in float32.
    assert_equal(module(3, 4)[0], sine_cosine(w, (3, 4), 3), tolerance=1e-6)
