"""The component that docs/extending.md tells a stranger to write works as it stands there."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import make_sample, make_tiny_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from refer_files import ReferFiles

from cadformer_d2.data.augmentation import AUGMENTATION_REGISTRY, build_augmentations
from cadformer_d2.data.catalog import (
    DATASETS,
    DatasetInfo,
    load_dataset_records,
    register_datasets,
)
from cadformer_d2.engine.config_checks import refuse_small_vocabulary
from cadformer_d2.model_cost import part_name
from cadformer_d2.modeling.alignment.build import ALIGNMENT_REGISTRY
from cadformer_d2.modeling.loss import LOSS_REGISTRY
from cadformer_d2.modeling.text_encoder import TEXT_ENCODER_REGISTRY

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def run_page(name, *, package):
    """Run the page's file with a class, as if it lay in a package."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if f"class {name}" in block)
    names = {"__name__": f"{package}.added", "__package__": package}
    exec(code, names)
    return names


# Each registered while a test runs; the other tests do not see it.


@pytest.fixture
def mean_word():
    run_page("MeanWordAlignment", package="cadformer_d2.modeling.alignment")
    yield "MeanWordAlignment"
    del ALIGNMENT_REGISTRY._obj_map["MeanWordAlignment"]


@pytest.fixture
def recurrent():
    run_page("RecurrentTextEncoder", package="cadformer_d2.modeling.text_encoder")
    yield "RecurrentTextEncoder"
    del TEXT_ENCODER_REGISTRY._obj_map["RecurrentTextEncoder"]


@pytest.fixture
def convolution_pyramid():
    run_page("ConvolutionPyramid", package="cadformer_d2.modeling.backbone")
    yield "ConvolutionPyramid"
    del BACKBONE_REGISTRY._obj_map["ConvolutionPyramid"]


@pytest.fixture
def focal():
    run_page("FocalLoss", package="cadformer_d2.modeling.loss")
    yield "FocalLoss"
    del LOSS_REGISTRY._obj_map["FocalLoss"]


def test_the_pages_loss_trains(focal):
    cfg = make_tiny_cfg()
    cfg.MODEL.LOSS.NAME = focal
    model = build_model(cfg)
    losses = model.train()([make_sample(seed=0), make_sample(seed=1)])
    assert losses.keys() == {"loss_focal"} and losses["loss_focal"].shape == ()
    losses["loss_focal"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    # One pixel, p_y = 0.8: (1 - 0.8)^2 (-log 0.8) = 0.04 * 0.223144.
    logits = torch.tensor([0.2, 0.8]).log().view(1, 2, 1, 1)
    value = model.criterion(logits, torch.ones(1, 1, 1, dtype=torch.bool))["loss_focal"]
    assert value.item() == pytest.approx(0.04 * 0.223144, rel=1e-4)


@pytest.fixture
def gamma():
    run_page("RandomGamma", package="cadformer_d2.data.augmentation")
    yield "RandomGamma"
    del AUGMENTATION_REGISTRY._obj_map["RandomGamma"]


@dataclass(frozen=True)
class PointedAtInfo(DatasetInfo):
    """A dataset in a format of its own."""

    def load(self, root, split, lenient):
        records = DATASETS["synthrs"].load(root, split, lenient)
        return [{**record, "expressions": ["it"] * 2} for record in records]


def test_a_dataset_in_another_format_is_a_class_and_its_entry(tmp_path, monkeypatch):
    ReferFiles(tmp_path).write()
    monkeypatch.setitem(DATASETS, "pointed", PointedAtInfo("pointed", ("tank",), {}))
    names = [name for name in register_datasets(tmp_path) if name.startswith("pointed_")]
    assert len(names) == 18
    assert [r["expressions"] for r in load_dataset_records("pointed_train")] == [["it"] * 2] * 3
    assert [r["expressions"] for r in load_dataset_records("pointed_test")] == [["it"]] * 6
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_pages_trainer_builds_its_own_loader(tmp_path):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN, cfg.DATALOADER.NUM_WORKERS = ("synthrs_train",), 0
    trainer = run_page("MyTrainer", package="own")["MyTrainer"]
    loader = trainer.build_train_loader(cfg)
    augmentations = loader.dataset.mapper.augmentations.augs
    names = [type(augmentation).__name__ for augmentation in augmentations]
    assert names == ["RandomContrast", "RandomFlip"]
    assert len(next(iter(loader))) == cfg.SOLVER.IMS_PER_BATCH


def test_the_pages_augmentation_is_a_line_of_the_config(gamma):
    cfg = make_tiny_cfg()
    cfg.INPUT.AUGMENTATIONS = [[gamma, 2.0, 2.0]]
    (augmentation,) = build_augmentations(cfg)
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    changed = augmentation.get_transform(image).apply_image(image)
    assert np.abs(changed - 255 * (image / 255.0) ** 2).max() <= 0.5


def test_the_pages_lines_of_augmentations_are_known():
    text = PAGE.read_text(encoding="utf-8")
    lines = yaml.safe_load(
        re.search(r"```yaml\n(INPUT:\n  AUGMENTATIONS.*?)```", text, re.DOTALL)[1]
    )["INPUT"]["AUGMENTATIONS"]
    lines += [yaml.safe_load(line) for line in re.findall(r"^\| `(\[.*\])` \|", text, re.MULTILINE)]
    cfg = make_tiny_cfg()
    cfg.INPUT.AUGMENTATIONS = lines
    assert len(build_augmentations(cfg)) == len(lines) == 11
    ours = {name for name, _ in AUGMENTATION_REGISTRY}
    assert ours <= {line[0] for line in lines}


def test_the_pages_alignment_trains(mean_word):
    cfg = make_tiny_cfg()
    cfg.MODEL.ALIGNMENT.NAME = mean_word
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_pages_text_encoder_trains_and_does_not_see_padding(recurrent):
    cfg = make_tiny_cfg()
    cfg.MODEL.TEXT_ENCODER.NAME, cfg.MODEL.TEXT_ENCODER.HIDDEN_SIZE = recurrent, 20
    model = build_model(cfg)
    samples = [make_sample(seed=0), make_sample(seed=1, num_tokens=12)]
    sum(model.train()(samples).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        (alone,), (padded, _) = model.eval()(samples[:1]), model(samples)
    torch.testing.assert_close(padded["sem_seg"], alone["sem_seg"], atol=1e-5, rtol=1e-4)
    refuse_small_vocabulary(cfg)


def test_the_pages_backbone_trains_and_keeps_the_laws(convolution_pyramid):
    cfg = make_tiny_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.POSITION.NAME = convolution_pyramid, "sincos"
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = ("backbone",)
    model = build_model(cfg)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    samples = [make_sample(seed=i, size=(81, 133), num_tokens=3 + 9 * i) for i in range(2)]
    with torch.no_grad():
        (alone,), (padded, _) = model.eval()(samples[:1]), model(samples)
    torch.testing.assert_close(padded["sem_seg"], alone["sem_seg"], atol=1e-5, rtol=1e-4)
    assert part_name(model, "backbone.stages.0") == "convolutions"
