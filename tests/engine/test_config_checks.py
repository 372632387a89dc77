import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from conftest import make_tiny_cfg
from detectron2.config import CfgNode, get_cfg
from refer_files import ReferFiles

from cadformer_d2.data.catalog import register_datasets
from cadformer_d2.engine.config_checks import (
    INSTEAD,
    TRUE_ANYWAY,
    WITH_EFFECT,
    iterate_keys,
    refuse_keys_without_effect,
    refuse_small_vocabulary,
    refuse_unknown_datasets,
    refuse_unmeetable_expectations,
    refuse_unusable_device,
)
from cadformer_d2.engine.setup import load_config
from cadformer_d2.engine.trainer import RefSegTrainer, derive_iterations
from cadformer_d2.precision import resolve_device

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
OTHER_VALUES = {bool: lambda v: not v, str: lambda v: "other", tuple: lambda v: (7,)}
OTHER_VALUES |= {list: lambda v: [7]}


class RecordingNode(CfgNode):
    """A section that remembers, for all of a config, which keys were asked for."""

    read: ClassVar[set] = set()

    @classmethod
    def of(cls, section, path=""):
        node = cls()
        node.__dict__["path"] = path
        for key, value in section.items():
            is_section = isinstance(value, CfgNode)
            dict.__setitem__(node, key, cls.of(value, f"{path}{key}.") if is_section else value)
        return node

    def __getattr__(self, name):
        value = super().__getattr__(name)
        self.read.add(self.__dict__.get("path", "") + name)
        return value

    def __getitem__(self, name):
        self.read.add(self.__dict__.get("path", "") + name)
        return super().__getitem__(name)


def test_the_keys_with_effect_are_those_that_training_and_evaluation_read(tmp_path):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.VAL = cfg.DATASETS.TEST = ("synthrs_test",)
    cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR = 0, str(tmp_path)
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.AMP.ENABLED = 1, 1, True
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "full_model"
    trainer = RefSegTrainer(RecordingNode.of(cfg))
    trainer.resume_or_load(resume=False)
    trainer.train()
    RefSegTrainer.test(trainer.cfg, trainer.model)
    read = RecordingNode.read & {key for key, _ in iterate_keys(get_cfg())}
    assert read | {"CUDNN_BENCHMARK"} == WITH_EFFECT  # which default_setup reads from a dump


def keys_without_effect():
    return sorted({key for key, _ in iterate_keys(get_cfg())} - WITH_EFFECT)


def test_every_other_key_of_detectron2_is_refused_once_it_is_set():
    for key in keys_without_effect():
        cfg = make_tiny_cfg()
        section, name = cfg, key
        while "." in name:
            first, name = name.split(".", 1)
            section = section[first]
        value = section[name]
        section[name] = OTHER_VALUES.get(type(value), lambda v: v + 1)(value)
        if section[name] == TRUE_ANYWAY.get(key):
            section[name] = "another"
        with pytest.raises(ValueError, match=rf"^{re.escape(key)} is .* no effect here"):
            refuse_keys_without_effect(cfg)


def test_the_keys_of_a_schedule_are_read_where_it_is_chosen():
    cfg = make_tiny_cfg()
    cfg.SOLVER.STEPS = (7, 9)
    with pytest.raises(
        ValueError, match="STEPS is .*no effect here; only .*MultiStepLR .*reads it"
    ):
        refuse_keys_without_effect(cfg)
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
    refuse_keys_without_effect(cfg)
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    with pytest.raises(ValueError, match="STEPS is .*no effect here"):
        refuse_keys_without_effect(cfg)


def test_values_that_say_what_happens_anyway_are_accepted():
    cfg = make_tiny_cfg()
    cfg.merge_from_list([part for pair in TRUE_ANYWAY.items() for part in pair])
    refuse_keys_without_effect(cfg)


def test_a_whole_config_that_was_written_is_accepted_when_it_is_read_again(tmp_path):
    (tmp_path / "config.yaml").write_text(load_config(str(QUICKSTART)).dump())
    again = load_config(str(tmp_path / "config.yaml"))
    assert again.SOLVER.NUM_EPOCHS == load_config(str(QUICKSTART)).SOLVER.NUM_EPOCHS


def test_advice_and_accepted_values_are_about_keys_without_effect():
    assert set(TRUE_ANYWAY) | set(INSTEAD) <= set(keys_without_effect())


def test_a_network_of_the_users_own_may_read_any_key_of_the_model():
    cfg = make_tiny_cfg()
    cfg.MODEL.RESNETS.DEPTH = 101
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.DEPTH is 101"):
        refuse_keys_without_effect(cfg)
    cfg.MODEL.BACKBONE.NAME = "MyBackbone"
    refuse_keys_without_effect(cfg)


@pytest.mark.parametrize("name", ["gpu", "meta", "mps", "cpu:1", "cuda", "cuda:99", "", "CPU"])
def test_a_device_that_does_not_exist_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = make_tiny_cfg()
    cfg.MODEL.DEVICE = name
    with pytest.raises(ValueError, match=f"MODEL.DEVICE: '{name}' (is not a device|needs a CUDA)"):
        refuse_unusable_device(cfg)


def test_a_gpu_beyond_the_last_is_named_with_those_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(
        ValueError, match="'cuda:2' is not a device of this machine; known: cpu, cuda, cuda:0, c"
    ):
        resolve_device("cuda:2")


EXPECTED = ["referring_seg", "mIoU", 60.0, 1.0]
UNMEETABLE = {
    "task": (
        {"TEST.EXPECTED_RESULTS": [["bbox", "AP", 60.0, 1.0]]},
        "'bbox'; known: referring_seg",
    ),
    "no validation": ({"DATASETS.VAL": ()}, r"DATASETS\.VAL is \(\)"),
    "several": ({"DATASETS.VAL": ("a", "b")}, r"DATASETS\.VAL is \('a', 'b'\)"),
    "several tests": ({"DATASETS.TEST": ("a", "b")}, r"DATASETS\.TEST is \('a', 'b'\)"),
    "no period": ({"TEST.EVAL_PERIOD": 0}, "EVAL_PERIOD 0 measures nothing"),
}


@pytest.mark.parametrize("case", UNMEETABLE)
def test_expected_results_that_will_not_be_measured_are_named_beforehand(case):
    cfg = make_tiny_cfg()
    cfg.DATASETS.VAL = cfg.DATASETS.TEST = ("a",)
    cfg.TEST.EXPECTED_RESULTS = [EXPECTED]
    for eval_only in (False, True):
        refuse_unmeetable_expectations(cfg, eval_only=eval_only)
    changes, message = UNMEETABLE[case]
    cfg.merge_from_list([part for pair in changes.items() for part in pair])
    with pytest.raises(ValueError, match=message):
        refuse_unmeetable_expectations(cfg, eval_only="DATASETS.TEST" in changes)


def test_a_vocabulary_larger_than_the_text_encoders_table_is_named():
    cfg = make_tiny_cfg()
    refuse_small_vocabulary(cfg)
    cfg.MODEL.TEXT_ENCODER.VOCAB_SIZE = 100
    with pytest.raises(ValueError, match=r"synthrs has \d+ tokens, but .* encoder has 100"):
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
        derive_iterations(cfg, num_refs=6)
