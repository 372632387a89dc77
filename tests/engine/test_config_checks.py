import re
from pathlib import Path

import pytest
from conftest import make_tiny_cfg
from detectron2.config import get_cfg
from refer_files import ReferFiles

from cadformer_d2.data.catalog import register_datasets
from cadformer_d2.engine.config_checks import (
    WITHOUT_EFFECT,
    refuse_keys_without_effect,
    refuse_small_vocabulary,
    refuse_unknown_datasets,
    refuse_unusable_device,
    value_of,
)
from cadformer_d2.engine.trainer import with_iterations

SOURCES = (Path(__file__).parents[2] / "cadformer_d2").rglob("*.py")
OTHER_VALUES = {bool: lambda v: not v, str: lambda v: "none", tuple: lambda v: (7,)}


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_a_key_without_effect_is_refused_once_it_is_set(key):
    cfg = make_tiny_cfg()
    refuse_keys_without_effect(cfg)
    value = value_of(cfg, key)
    cfg.merge_from_list([key, OTHER_VALUES.get(type(value), lambda v: v + 1)(value)])
    with pytest.raises(ValueError, match=rf"^{re.escape(key)} is .* no effect here"):
        refuse_keys_without_effect(cfg)


def test_keys_without_effect_are_really_read_nowhere():
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "config_checks.py")
    for key in WITHOUT_EFFECT:
        section, name = key.rsplit(".", 1)
        value_of(get_cfg(), key)  # Detectron2 has it
        assert not re.search(rf"({section}|solver|\b{section.split('.')[-1]})\.{name}\b", text), key


def test_a_device_that_does_not_exist_is_named():
    cfg = make_tiny_cfg()
    cfg.MODEL.DEVICE = "gpu"
    with pytest.raises(ValueError, match="MODEL.DEVICE is 'gpu', which is no device"):
        refuse_unusable_device(cfg)


def test_a_vocabulary_larger_than_the_text_encoders_table_is_named():
    cfg = make_tiny_cfg()
    refuse_small_vocabulary(cfg)
    cfg.MODEL.TEXT_ENCODER.VOCAB_SIZE = 100
    with pytest.raises(ValueError, match=r"'synthrs' has \d+ word pieces, more than .*, 100"):
        refuse_small_vocabulary(cfg)


def test_an_unknown_dataset_is_named_with_its_key_and_those_known(tmp_path):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.VAL = ("synthrs_train",), ("synthrs_vla",)
    with pytest.raises(ValueError, match=r"DATASETS.VAL: unknown dataset 'synthrs_vla'; .*rrsisd"):
        refuse_unknown_datasets(cfg, eval_only=False)
    cfg.DATASETS.TEST = ()
    with pytest.raises(ValueError, match="DATASETS.TEST is empty"):
        refuse_unknown_datasets(cfg, eval_only=True)


@pytest.mark.parametrize("key", ["CHECKPOINT_PERIOD", "IMS_PER_BATCH", "NUM_EPOCHS", "MAX_ITER"])
def test_a_schedule_that_cannot_be_is_named(key):
    cfg = make_tiny_cfg()
    cfg.SOLVER[key] = 0
    with pytest.raises(ValueError, match=f"SOLVER.{key} is 0"):
        with_iterations(cfg, num_refs=6)
