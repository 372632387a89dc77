import re
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from cadformer_d2.config import add_cadformer_config

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
    cfg = get_cfg()
    add_cadformer_config(cfg)
    cfg.merge_from_file(str(path))


def test_a_misspelt_key_is_refused():
    cfg = get_cfg()
    add_cadformer_config(cfg)
    with pytest.raises(AssertionError, match="Non-existent key: MODEL.DECODR"):
        cfg.merge_from_list(["MODEL.DECODR.NAME", "TCMD"])
