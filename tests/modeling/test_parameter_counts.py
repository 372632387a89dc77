"""Every method at Swin-B and BERT-base against counts made by hand from the papers' equations."""

from collections import Counter

import pytest
from conftest import zeros_for_random_weights
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from cadformer_d2.config import add_cadformer_config

SWIN = 86_880_376  # with merges, patch embedding and output norms
BERT = 108_891_648
PWAM_AND_GATES = 8_531_200 + 688_128
VGLVA_STAGES_1_TO_3 = 2_560_512 + 2_757_120 + 3_150_336 + 3 * 1_179_648
VGLVA_STAGE_4 = 3_936_768 + 1_179_648
VGLVA_NORM = 1_536  # a LayerNorm, this project's choice, in place of an InstanceNorm
GATE_STAGE_4 = 2 * 1024**2  # where the decoder reads gate(F_i) * F_i
PLAIN_HEAD, OAD_HEAD, TCMD_HEAD = 20_651_010, 20_670_981, 55_609_605
LGCE_NECK, CIM_NECK, TMEM_NECK = 28_472_832, 9_492_246, 12_416_640
IIM_BRANCH = 114 + 688_128
FIAM_BRANCH = 4_824_118 + 87_024

# Alignment, neck, decoder, its width: parameters of the alignment, the neck and the decoder.
METHODS = {
    "LAVT": ("PWAM", "", "SimpleDecoding", 512, PWAM_AND_GATES, 0, PLAIN_HEAD),
    "LGCE": ("PWAM", "LGCE", "SimpleDecoding", 512, PWAM_AND_GATES, LGCE_NECK, PLAIN_HEAD),
    "RMSIN": ("IIM", "CIM", "OAD", 512, PWAM_AND_GATES + IIM_BRANCH, CIM_NECK, OAD_HEAD),
    "FIANet": (
        "FIAM",
        "TMEM",
        "SimpleDecoding",
        512,
        PWAM_AND_GATES + FIAM_BRANCH,
        TMEM_NECK,
        PLAIN_HEAD,
    ),
    "SMGAM only": (
        "SMGAM",
        "",
        "SimpleDecoding",
        512,
        PWAM_AND_GATES + VGLVA_STAGES_1_TO_3 + 3 * VGLVA_NORM,
        0,
        PLAIN_HEAD,
    ),
    "gated, TCMD only": ("PWAM", "", "TCMD", 768, PWAM_AND_GATES + GATE_STAGE_4, 0, TCMD_HEAD),
    "TCMD only": ("PWAM", "", "TCMD", 768, PWAM_AND_GATES, 0, TCMD_HEAD),
    "LGCE's decoder": (
        "SMGAM",
        "",
        "LGCEDecoder",
        512,
        PWAM_AND_GATES + VGLVA_STAGES_1_TO_3 + VGLVA_STAGE_4 + 4 * VGLVA_NORM,
        0,
        LGCE_NECK + PLAIN_HEAD,
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_those_of_the_equations(method):
    alignment, neck, decoder, width, *expected = METHODS[method]
    cfg = get_cfg()
    add_cadformer_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.TEXT_ENCODER.WEIGHTS = "meta", ""
    cfg.MODEL.ALIGNMENT.NAME = alignment
    cfg.MODEL.ALIGNMENT.DECODER_FEATURE = "gated" if method.startswith("gated") else "fused"
    cfg.MODEL.NECK.NAME = neck
    cfg.MODEL.DECODER.NAME, cfg.MODEL.DECODER.HIDDEN_DIM = decoder, width
    with zeros_for_random_weights():
        model = build_model(cfg)
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        counts["alignment" if name.startswith("backbone.alignments") else part] += parameter.numel()
    assert counts["text_encoder"] == BERT
    assert counts["backbone"] == SWIN
    assert [counts["alignment"], counts["neck"], counts["decoder"]] == expected
