"""Where components meet: stage loop, meta-architecture, criterion; and the operators."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.layers.convolution import winograd_3x3
from cadformer_d2.layers.rotated_conv import rotation_matrices
from cadformer_d2.modeling.criterion import SegmentationCriterion
from cadformer_d2.modeling.meta_arch import CADFormer
from cadformer_d2.modeling.position import SinCosPosition
from cadformer_d2.structures import TextFeatures
from equations import formulas
from equations.conftest import same
from equations.test_alignments import EQUATIONS, HEADS


@pytest.fixture
def backbone_of(randomized):
    """Builds the backbone of the tiny config with an alignment, weights drawn."""

    def build(alignment):
        torch.set_default_dtype(torch.float32)  # as models are built
        cfg = make_tiny_cfg()
        cfg.MODEL.ALIGNMENT.NAME, cfg.MODEL.POSITION.NAME = alignment, "sincos"
        cfg.MODEL.ALIGNMENT.NUM_HEADS = (HEADS,) * 4
        backbone = randomized(build_model(cfg).backbone)
        torch.set_default_dtype(torch.float64)
        # Pi as float32 has it is off by 1e-7.
        backbone.position.wave_numbers = math.pi * torch.arange(1.0, 5.0)
        return backbone

    return build


def merged(layer, x, height, width):
    """Swin's patch merging: four neighbours side by side, LayerNorm, a linear map to twice C."""
    grid = x.reshape(len(x), height, width, -1)
    neighbours = [grid[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    joined = torch.cat(neighbours, dim=-1).flatten(1, 2)
    return formulas.linear(layer.reduction, formulas.layer_norm(layer.norm, joined))


@pytest.mark.parametrize("name", ["SMGAM", "SMGAMAsReleased", "PWAM"])
def test_the_stage_loop_is_the_papers(name, backbone_of):
    """V_i = blocks_i(X_{i-1}); LN(F_i) to the decoder; X_i = merge_i(V_i + update); L_{i+1}."""
    backbone = backbone_of(name)
    image = torch.randn(2, 3, 64, 96)
    m = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    text = TextFeatures(torch.randn(2, 5, 32), m)
    pyramid, refined = backbone(image, text)

    patches = backbone.patch_embed
    projected = formulas.as_positions(
        F.conv2d(image, patches.proj.weight, patches.proj.bias, stride=4)
    )
    x = formulas.layer_norm(patches.norm, projected) + position(backbone.position, 16, 24)
    height, width = 16, 24
    for i in range(4):
        v = backbone.stages[i](x, height, width)
        alignment = backbone.alignments[i]
        fused, gated, tokens = stage_outputs(name, alignment, v, x, text)
        text = TextFeatures(tokens, m)
        handed = gated if alignment.decoder_reads_gated else fused
        normed = formulas.layer_norm(backbone.norms[i], handed)
        same(pyramid[f"stage{i + 1}"], normed.transpose(1, 2).reshape(2, -1, height, width))
        if i < 3:
            x = merged(backbone.merges[i], v + gated, height, width)
            height, width = height // 2, width // 2
    same(refined.tokens, text.tokens)


def stage_outputs(name, alignment, v, x, text):
    fused, gated, _, tokens = EQUATIONS[name][1](alignment, v, x, text)
    return fused, gated, tokens


def position(signal, height, width):
    """Waves k = 1..K run k / 2 times across: sin, cos (pi k y), then x; mapped to the width."""
    rows = []
    for row in range(height):
        for column in range(width):
            waves = []
            for place in ((row + 0.5) / height, (column + 0.5) / width):
                phases = [math.pi * k * place for k in range(1, len(signal.wave_numbers) + 1)]
                waves += [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
            rows.append(waves)
    return formulas.linear(signal.projection, torch.tensor(rows, dtype=torch.float64))[None]


def test_the_position_signal_is_its_equation(randomized):
    signal = randomized(SinCosPosition(dim=6, num_waves=3))
    signal.wave_numbers = math.pi * torch.arange(1.0, 4.0)  # made in float64
    same(signal(4, 7), position(signal, 4, 7))


def test_swins_window_attention_is_its_equation(backbone_of):
    """softmax(Q K^T / sqrt(d) + bias(relative place) + mask) U in windows of 4 x 4 positions."""
    window = backbone_of("PWAM").stages[1].blocks[0].attn  # two heads
    x, mask = torch.randn(6, 16, 32), torch.randn(3, 16, 16)
    query, key, value = (
        x @ weight.T + bias
        for weight, bias in zip(window.qkv.weight.chunk(3), window.qkv.bias.chunk(3), strict=True)
    )
    outputs = []
    for head in range(2):
        part = slice(16 * head, 16 * head + 16)
        bias = torch.zeros(16, 16)
        for a in range(16):
            for b in range(16):
                down, right = a // 4 - b // 4 + 3, a % 4 - b % 4 + 3
                bias[a, b] = window.relative_position_bias_table[down * 7 + right, head]
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 4 + bias
        scores = scores + mask.repeat(2, 1, 1)  # window w of image b is number 3 b + w
        outputs.append(scores.softmax(dim=-1) @ value[..., part])
    same(window(x, mask), formulas.linear(window.proj, torch.cat(outputs, dim=-1)))


class Recorded(nn.Module):
    """Stands for a component: hands out what it is given to hand out, and keeps what it got."""

    def __init__(self, output):
        super().__init__()
        self.output, self.seen = output, None

    def forward(self, *seen):
        self.seen = seen
        return self.output


class RecordedEncoder(Recorded):
    reads = ("input_ids", "attention_mask")


@pytest.mark.parametrize("padded_length", [None, 9])
def test_the_skeleton_joins_its_components_as_the_paper_does(padded_length):
    """(image - mean) / std and padded ids in; the neck's maps and L_5 to the decoder."""
    size, native = (10, 13), [(25, 17), (10, 13)]  # no multiples of 4
    l_1, l_5 = (TextFeatures(torch.randn(2, 7, 4), torch.ones(2, 7).bool()) for _ in range(2))
    maps, mixed, logits = object(), object(), torch.randn(2, 2, 3, 4)
    encoder, backbone = RecordedEncoder(l_1), Recorded((maps, l_5))
    neck, decoder = Recorded(mixed), Recorded(logits)
    mean, std = [10.0, 20.0, 30.0], [2.0, 3.0, 4.0]
    model = CADFormer(
        text_encoder=encoder,
        backbone=backbone,
        neck=neck,
        decoder=decoder,
        criterion=nn.Identity(),
        pixel_mean=mean,
        pixel_std=std,
        padded_length=padded_length,
    ).eval()
    batch = [
        make_sample(seed=i, size=size, num_tokens=5 + 2 * i, native_size=native[i], is_train=False)
        for i in range(2)
    ]
    for sample in batch:
        sample["image"] = sample["image"].double()
    answers = model(batch)
    image, text = backbone.seen
    for ours, sample in zip(image, batch, strict=True):
        for channel in range(3):
            same(ours[channel], (sample["image"][channel] - mean[channel]) / std[channel])
    ids, attended = encoder.seen
    length = padded_length or 7
    assert ids.shape == attended.shape == (2, length)
    for row, sample in enumerate(batch):
        real = len(sample["input_ids"])
        assert ids[row].tolist() == [*sample["input_ids"].tolist(), *[0] * (length - real)]
        assert attended[row].tolist() == [1] * real + [0] * (length - real)
    assert text is l_1 and neck.seen == (maps, l_5) and decoder.seen == (mixed, l_5)
    # Four times as large with corners aligned, cut to the input, softmax, the image's own size.
    whole = formulas.bilinear(logits, (12, 16), align_corners=True)[..., :10, :13]
    probability = whole.exp() / whole.exp().sum(dim=1, keepdim=True)
    for i, answer in enumerate(answers):
        expected = formulas.bilinear(probability[i : i + 1], native[i], align_corners=False)[0]
        torch.testing.assert_close(answer["sem_seg"].double(), expected, rtol=1e-5, atol=1e-6)


def test_in_training_the_criterion_sees_the_whole_inputs_logits_and_masks():
    logits = torch.randn(2, 2, 3, 4)
    criterion = Recorded({"loss": torch.zeros(())})
    text = TextFeatures(torch.randn(2, 7, 4), torch.ones(2, 7).bool())
    model = CADFormer(
        text_encoder=RecordedEncoder(text),
        backbone=Recorded((object(), text)),
        neck=None,
        decoder=Recorded(logits),
        criterion=criterion,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    ).train()
    batch = [make_sample(seed=i, size=(12, 16)) for i in range(2)]
    assert model(batch).keys() == {"loss"}
    seen_logits, seen_masks = criterion.seen
    same(seen_logits, formulas.bilinear(logits, (12, 16), align_corners=True))
    assert torch.equal(seen_masks, torch.stack([sample["gt_mask"] for sample in batch]))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_its_equation(reduction):
    """0.9 * weighted mean of -log p + 0.1 * Dice of both classes (baselines 1.6)."""
    criterion = SegmentationCriterion(
        ce_weight=0.9, dice_weight=0.1, class_weights=(0.9, 1.1), dice_reduction=reduction
    )
    logits = torch.randn(3, 2, 4, 5)
    target = torch.rand(3, 4, 5) > 0.7
    losses = criterion(logits, target)
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    weighted = weights = dice = 0.0
    for b in range(3):
        for k, weight in ((0, 0.9), (1, 1.1)):
            t = (target[b] if k else ~target[b]).double()
            weighted += weight * float((-p[b, k].log() * t).sum())
            weights += weight * float(t.sum())
            overlap, total = float((p[b, k] * t).sum()), float(p[b, k].sum() + t.sum())
            dice += 1 - (2 * overlap + 1e-6) / (total + 1e-6)
    dice = dice / 3 if reduction == "mean" else dice
    # The criterion computes in float32.
    assert float(losses["loss_ce"]) == pytest.approx(0.9 * weighted / weights, rel=1e-5)
    assert float(losses["loss_dice"]) == pytest.approx(0.1 * dice, rel=1e-5)


def test_a_rotation_is_the_printed_table():
    """baselines 4.3, for 30 and for -20 degrees; cells row by row."""
    x, y = math.cos(math.radians(30)), math.sin(math.radians(30))
    a, b, c = x - y, x * y, x + y
    left = torch.zeros(9, 9)
    for new, old in {
        0: {0: a, 1: 1 - a},
        1: {1: x - b, 2: b, 4: 1 - c + b, 5: y - b},
        2: {2: a, 5: 1 - a},
        3: {0: b, 1: y - b, 3: x - b, 4: 1 - c + b},
        4: {4: 1},
        5: {4: 1 - c + b, 5: x - b, 7: y - b, 8: b},
        6: {3: 1 - a, 6: a},
        7: {3: y - b, 4: 1 - c + b, 6: b, 7: x - b},
        8: {7: 1 - a, 8: a},
    }.items():
        for cell, weight in old.items():
            left[new, cell] = weight
    x, y = math.cos(math.radians(-20)), math.sin(math.radians(-20))
    a, b, c = x - y, x * y, x + y
    right = torch.zeros(9, 9)
    for new, old in {
        0: {0: c, 3: 1 - c},
        1: {0: -b, 1: x + b, 3: b - y, 4: 1 - a - b},
        2: {1: 1 - c, 2: c},
        3: {3: x + b, 4: 1 - a - b, 6: -b, 7: b - y},
        4: {4: 1},
        5: {1: b - y, 2: -b, 4: 1 - a - b, 5: x + b},
        6: {6: c, 7: 1 - c},
        7: {4: 1 - a - b, 5: b - y, 7: x + b, 8: -b},
        8: {5: 1 - c, 8: c},
    }.items():
        for cell, weight in old.items():
            right[new, cell] = weight
    ours = rotation_matrices(torch.tensor([math.radians(30), math.radians(-20)])).double()
    torch.testing.assert_close(ours, torch.stack([left, right]), rtol=0, atol=1e-6)


def test_winograd_is_the_sum_by_definition():
    x, kernels = torch.randn(2, 3, 7, 9), torch.randn(2, 4, 3, 3, 3)
    plain = [F.conv2d(image[None], k, padding=1) for image, k in zip(x, kernels, strict=True)]
    same(winograd_3x3(x, kernels), torch.cat(plain))
