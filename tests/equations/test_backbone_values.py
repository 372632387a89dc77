"""The loop around a network of timm is its equation: the whole network, told at its levels."""

import pytest
import timm
import torch

from cadformer_d2.modeling.backbone import build_backbone
from cadformer_d2.modeling.text_encoder import text_output_shape

from .alignment import ALIGNMENTS
from .encoders import sine_cosine
from .notation import as_map, as_positions, layer_norm, randomized
from .setting import EXACT, IS_TOKEN, assert_equal, in_float64, normal, sentences, tiny_cfg  # noqa: F401

pytestmark = pytest.mark.usefixtures("in_float64")
SIZE = (70, 93)  # (96, 96) in whole cells of the last level


def woven(network, levels, w, cfg, image, text):
    """V_i is what level i gives; the alignment sees LN(V_i) + position_i; the network goes on with
    V_i + update; pyramid LN_i(...). Without views, the alignment sees V_i, V_1 with its position.

    Args:
        network: timm's, whole; it is told by hooks.
        levels: names of its modules at whose ends the levels are.
    """
    align = ALIGNMENTS[cfg.MODEL.ALIGNMENT.NAME]
    pyramid = {}

    def told(i):
        def hook(module, inputs, level):
            nonlocal text
            channels_last = level.shape[1] != w[f"norms.{i}.weight"].shape[0]
            map_ = level.permute(0, 3, 1, 2) if channels_last else level
            V, size = as_positions(map_), map_.shape[-2:]
            waves = cfg.MODEL.POSITION.NUM_WAVES if cfg.MODEL.POSITION.NAME == "sincos" else 0
            if not cfg.MODEL.TIMM.STAGE_VIEWS:
                if i == 0 and waves:
                    V = V + sine_cosine(w / "position", size, waves)
                seen = V
            else:
                seen = layer_norm(w / f"views.{i}.norm", V)
                if waves:
                    seen = seen + sine_cosine(w / f"views.{i}.position", size, waves)
            heads = cfg.MODEL.ALIGNMENT.NUM_HEADS[i]
            F, _, update, L = align(w / f"alignments.{i}", seen, text, size, heads, None)
            text = type(text)(L, text.is_token, text.object_words, text.position_words)
            pyramid[f"stage{i + 1}"] = as_map(layer_norm(w / f"norms.{i}", F), size)
            if i == 3:
                return None
            after = as_map(V + update, size)
            return after.permute(0, 2, 3, 1) if channels_last else after

        return hook

    for i, name in enumerate(levels):
        network.get_submodule(name).register_forward_hook(told(i))
    padded = image.new_zeros(len(image), 3, 96, 96)
    padded[..., : SIZE[0], : SIZE[1]] = image
    network.forward_features(padded)
    return pyramid, text


@pytest.mark.parametrize("has_views", [True, False])
@pytest.mark.parametrize(
    ("name", "position", "tolerance"),
    [
        ("test_convnext", "none", EXACT),
        ("test_efficientnet", "none", EXACT),
        ("test_mambaout", "none", EXACT),
        ("test_convnext", "sincos", 1e-4),  # its waves are kept in float32
    ],
)
def test_a_network_of_timm_woven_with_the_text_is_its_equation(
    name, position, tolerance, has_views
):
    cfg = tiny_cfg(BACKBONE="TextAwareTimm", POSITION=position)
    cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.STAGE_VIEWS = name, has_views
    cfg.MODEL.ALIGNMENT.DECODER_FEATURE = "fused"
    cfg.MODEL.ALIGNMENT.NUM_HEADS = (1, 2, 4, 2)
    backbone, w = randomized(build_backbone(cfg, text_output_shape(cfg)))
    network = timm.create_model(name).double().eval()
    for ours, theirs in backbone.network.published.items():
        network.state_dict()[theirs].copy_(w[f"stages.{ours}"])
    levels = [level["module"] for level in network.feature_info if level["reduction"] >= 4]
    image, text = normal(len(IS_TOKEN), 3, *SIZE), sentences(cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE)
    with torch.no_grad():
        expected, told = woven(network, levels[-4:], w, cfg, image, text)
        pyramid, text = backbone(image, text)
    assert list(pyramid) == list(expected)
    for stage, map_ in pyramid.items():
        assert_equal(map_, expected[stage], tolerance)
    assert_equal(text.tokens[IS_TOKEN], told.tokens[IS_TOKEN], tolerance)
