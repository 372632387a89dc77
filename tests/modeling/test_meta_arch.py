import pytest
import torch
from conftest import VOCABULARY_SIZE, make_sample, zeros_for_random_weights
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.config import add_cadformer_config
from cadformer_d2.modeling.decoder.build import DECODER_REGISTRY
from cadformer_d2.modeling.meta_arch import round_up_tokens, upsample_to_input
from cadformer_d2.modeling.text_encoder import TEXT_ENCODER_REGISTRY
from cadformer_d2.structures import TextFeatures

# Swin-B with window 12, BERT-base without pooler, SMGAM, TCMD: counted by hand from the equations.
BERT = 108_891_648
SWIN_WITH_MERGES_AND_NORMS = 86_880_376
LGVLA = 8_531_200
VISUAL_GATES = 688_128
VGLVA_WITH_GATES = 17_123_328
VGLVA_LAYER_NORMS = 4 * 1_536  # this project's choice: a LayerNorm in place of an InstanceNorm
TCMD_CONVOLUTIONS = 39_853_829
TCMD_TEXT_LAYERS = 15_755_776


@pytest.fixture(scope="module")
def full_size_model():
    cfg = get_cfg()
    add_cadformer_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.TEXT_ENCODER.WEIGHTS = "meta", ""
    with zeros_for_random_weights():
        return build_model(cfg)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_default_config_is_the_papers_model(full_size_model):
    model = full_size_model
    alignments = model.backbone.alignments
    assert count(model.text_encoder) == BERT
    assert sum(count(stage.lgvla) for stage in alignments) == LGVLA
    *first_three, last = (count(stage.visual_gate) for stage in alignments)
    assert sum(first_three) == VISUAL_GATES
    assert last == 2 * 1024**2
    assert (
        sum(count(stage.vglva) + count(stage.text_gate) for stage in alignments)
        == VGLVA_WITH_GATES + VGLVA_LAYER_NORMS
    )
    assert count(model.backbone) - count(alignments) == SWIN_WITH_MERGES_AND_NORMS
    assert count(model.decoder) == TCMD_CONVOLUTIONS + TCMD_TEXT_LAYERS


def test_the_last_stage_builds_a_gate_only_if_the_decoder_reads_what_it_gates(tiny_cfg):
    for feature, is_built in (("gated", True), ("fused", False)):
        tiny_cfg.MODEL.ALIGNMENT.DECODER_FEATURE = feature
        gates = [stage.visual_gate for stage in build_model(tiny_cfg).backbone.alignments]
        assert [gate is not None for gate in gates] == [True, True, True, is_built]


def test_the_text_refined_last_is_built_only_if_somebody_reads_it(tiny_cfg, monkeypatch):
    from cadformer_d2.modeling.decoder.tcmd import TCMD

    monkeypatch.setattr(TCMD, "reads_text", False)
    alignments = build_model(tiny_cfg).backbone.alignments
    assert [stage.vglva is not None for stage in alignments] == [True, True, True, False]


class TwentyChannels(nn.Module):
    """A text encoder that takes its width from nobody's config."""

    reads = ("input_ids", "attention_mask")

    def __init__(self, cfg):
        super().__init__()
        self.table = nn.Embedding(VOCABULARY_SIZE, 20)

    @classmethod
    def output_shape(cls, cfg):
        return ShapeSpec(channels=20)

    def forward(self, input_ids, attention_mask):
        return TextFeatures(self.table(input_ids), attention_mask.bool())


@pytest.mark.parametrize(
    ("alignment", "neck", "decoder"),
    [("SMGAM", "LGCE", "TCMD"), ("IIM", "TMEM", "LGCEDecoder")],
)
def test_whoever_reads_text_takes_its_width_from_the_encoder(
    tiny_cfg, monkeypatch, alignment, neck, decoder
):
    monkeypatch.setitem(TEXT_ENCODER_REGISTRY._obj_map, "TwentyChannels", TwentyChannels)
    model = tiny_cfg.MODEL
    model.TEXT_ENCODER.NAME = "TwentyChannels"
    model.ALIGNMENT.NAME, model.NECK.NAME, model.DECODER.NAME = alignment, neck, decoder
    (output,) = build_model(tiny_cfg).eval()([make_sample(is_train=False)])
    assert output["sem_seg"].isfinite().all()


@pytest.mark.parametrize("name", ["build_resnet_backbone", "build_resnet_fpn_backbone"])
def test_a_backbone_that_reads_no_text_is_refused(tiny_cfg, name):
    tiny_cfg.MODEL.BACKBONE.NAME = name
    with pytest.raises(ValueError, match="MODEL.BACKBONE.NAME is '.*input_shape, text_shape"):
        build_model(tiny_cfg)


def test_images_of_different_sizes_are_refused(tiny_cfg):
    model = build_model(tiny_cfg).eval()
    with pytest.raises(ValueError, match="different sizes .*64, 64.*64, 96"):
        model([make_sample(), make_sample(size=(64, 96))])


def test_images_are_normalised_by_the_config(tiny_cfg):
    model = build_model(tiny_cfg)
    sample = make_sample()
    sample["image"] = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1).expand(3, 64, 64)
    assert model.preprocess_images([sample]).abs().max() < 1e-6


def test_logits_stay_over_their_pixels_when_the_input_was_padded():
    # One quarter-size column per four pixels; the last one covers a single pixel of the image.
    logits = torch.arange(4.0).expand(1, 2, 3, 4)
    upsampled = upsample_to_input(logits, (12, 13), 4)
    full = upsample_to_input(logits, (12, 16), 4)
    assert upsampled.shape == (1, 2, 12, 13)
    assert torch.equal(upsampled, full[..., :13])


@pytest.mark.parametrize("name", [name for name, _ in DECODER_REGISTRY])
def test_every_decoder_can_answer_on_a_finer_grid_than_its_map(name, tiny_cfg):
    tiny_cfg.MODEL.DECODER.NAME, tiny_cfg.MODEL.DECODER.SUBPIXELS = name, 2
    model, seen = build_model(tiny_cfg).eval(), {}
    model.decoder.classifier.register_forward_hook(
        lambda _, arguments, coarse: seen.update(coarse=coarse)
    )
    model.decoder.register_forward_hook(lambda _, arguments, logits: seen.update(logits=logits))
    with torch.no_grad():
        (answer,) = model([make_sample(size=(61, 90))])
    coarse, logits = seen["coarse"], seen["logits"]  # (1, 2 * 4, h, w), (1, 2, 2 h, 2 w)
    for row in (0, 1):
        for column in (0, 1):
            part = coarse.unflatten(1, (2, 2, 2))[:, :, row, column]
            assert torch.equal(logits[..., row::2, column::2], part)
    assert answer["sem_seg"].shape == (2, 61, 90)
    expected = upsample_to_input(logits, (61, 90), model.stride // 2).softmax(dim=1)[0]
    torch.testing.assert_close(answer["sem_seg"], expected)


def test_the_position_signal_tells_places_apart(tiny_cfg):
    tiny_cfg.MODEL.POSITION.NAME = "sincos"
    position = build_model(tiny_cfg).backbone.position
    signal = position(16, 16).detach()[0]  # (256, C)
    distance = torch.cdist(signal, signal)
    distance.fill_diagonal_(torch.inf)
    neighbours = distance.argmin(dim=1) - torch.arange(256)
    assert set(neighbours.abs().tolist()) <= {1, 16, 15, 17}  # the nearest signal is next door


def test_the_position_signal_is_the_same_place_at_another_size(tiny_cfg):
    tiny_cfg.MODEL.POSITION.NAME = "sincos"
    position = build_model(tiny_cfg).backbone.position
    coarse, fine = position.waves(4), position.waves(12)
    torch.testing.assert_close(coarse, fine[1::3])


def test_stochastic_depth_grows_to_its_rate(full_size_model):
    blocks = [block for stage in full_size_model.backbone.stages for block in stage.blocks]
    rates = [getattr(block.drop_path, "p", 0.0) for block in blocks]
    assert len(rates) == 24 and rates == sorted(rates)
    assert rates[0] == 0.0 and rates[-1] == pytest.approx(0.3)


@torch.no_grad()
def test_padding_expressions_to_the_next_multiple_of_eight_changes_no_output(tiny_cfg):
    model = build_model(tiny_cfg).eval().double()
    for longest in range(3, 21):
        batch = [make_sample(seed=1, num_tokens=longest), make_sample(seed=2, num_tokens=3)]
        for sample in batch:
            sample["image"] = sample["image"].double()
        outputs = []
        for model.padded_length in (longest, round_up_tokens(longest, 8)):
            outputs.append(torch.stack([result["sem_seg"] for result in model(batch)]))
        assert model.padded_length in (8, 16, 24)
        # The rotated kernels' angles are taken in float32.
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)


def test_expressions_are_padded_further_on_a_gpu_or_compiled_only(tiny_cfg, monkeypatch):
    model = build_model(tiny_cfg)
    assert model.tokens_step == 1
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert [round_up_tokens(n, model.tokens_step) for n in (3, 8, 9)] == [8, 8, 16]
    model.compile()
    assert [round_up_tokens(n, model.tokens_step) for n in (3, 32, 33)] == [32, 32, 64]


@torch.no_grad()
def test_weights_in_bfloat16_give_nearly_the_same_masks(tiny_cfg):
    tiny_cfg.MODEL.POSITION.NAME = "sincos"
    model, batch = build_model(tiny_cfg).eval(), [make_sample(), make_sample(seed=1)]
    exact = torch.stack([result["sem_seg"] for result in model(batch)])
    rounded = torch.stack([result["sem_seg"] for result in model.to(torch.bfloat16)(batch)])
    assert rounded.dtype == torch.float32  # probabilities
    assert 0 < (rounded - exact).abs().max() < 0.03
