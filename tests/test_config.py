import re
from pathlib import Path

import pytest
from conftest import make_sample
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from cadformer_d2.config import add_cadformer_config, drop_pretrained_weights
from cadformer_d2.engine.setup import load_config

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SOURCES = [p for p in (ROOT / "cadformer_d2").rglob("*.py") if p.name != "config.py"]
# Read by Detectron2 itself.
DETECTRON2_READS = {"MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME"}


def leaves(cfg, prefix=""):
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def our_keys():
    """Keys this project adds, or whose default it changes."""
    theirs = dict(leaves(get_cfg()))
    cfg = get_cfg()
    add_cadformer_config(cfg)
    return [key for key, value in leaves(cfg) if key not in theirs or theirs[key] != value]


@pytest.mark.parametrize("key", sorted(set(our_keys()) - DETECTRON2_READS))
def test_every_key_has_a_reader(key):
    section, _, name = key.rpartition(".")
    text = "\n".join(path.read_text() for path in SOURCES)
    # Readers shorten sections to locals: cfg.MODEL.SWIN -> swin.EMBED_DIM.
    last = section.split(".")[-1]
    owners = {"cfg", f"cfg.{section}", last, last.lower(), "text", "solver", "clip"}
    pattern = "|".join(re.escape(f"{owner}.{name}") for owner in owners)
    assert re.search(rf"({pattern})\b", text), f"nobody reads {key}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_loads(path):
    load_config(str(path))


SMALL = (
    "MODEL.DEVICE cpu MODEL.TEXT_ENCODER.HIDDEN_SIZE 32 "
    "MODEL.TEXT_ENCODER.NUM_HEADS 2 MODEL.TEXT_ENCODER.FFN_DIM 64 MODEL.TEXT_ENCODER.NUM_LAYERS 12 "
    "MODEL.TEXT_ENCODER.VOCAB_SIZE 320 MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.DEPTHS (1,1,1,1) "
    "MODEL.SWIN.NUM_HEADS (1,2,4,8) MODEL.DECODER.HIDDEN_DIM 24 MODEL.DECODER.NUM_HEADS 2 "
    "MODEL.DECODER.FFN_DIM 48 INPUT.SIZE (64,64)"
).split()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_components_of_every_config_file_fit_together(path):
    cfg = load_config(str(path), SMALL)
    if cfg.MODEL.TEXT_ENCODER.NAME == "HuggingFaceTextEncoder":  # as many layers as it has
        cfg.MODEL.TEXT_ENCODER.NUM_LAYERS = -1
    drop_pretrained_weights(cfg)
    losses = build_model(cfg).train()([make_sample(seed=0), make_sample(seed=1)])
    assert sum(losses.values()).isfinite()


def test_a_misspelt_key_is_refused():
    with pytest.raises(ValueError, match="Non-existent key: MODEL.DECODR.NAME; known there: "):
        load_config("", ["MODEL.DECODR.NAME", "TCMD"])


def test_heads_that_cannot_share_the_decoders_channels_are_named(tiny_cfg):
    tiny_cfg.MODEL.DECODER.NUM_HEADS = 5
    with pytest.raises(ValueError, match="HIDDEN_DIM 24 is not divisible by .*NUM_HEADS 5"):
        build_model(tiny_cfg)
