import os
import pickle
import resource
import zipfile

import pytest
import safetensors.torch
import torch
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.checkpoint import (
    RefSegCheckpointer,
    read_trained_config,
)
from cadformer_d2.modeling.backbone.swin_release import rename_swin_weights, resize_position_table


@pytest.fixture
def model(tiny_cfg):
    torch.manual_seed(0)
    return build_model(tiny_cfg)


def swin_release(model, *, window=4):
    """A file like Microsoft's, made of the model's own Swin weights plus one."""
    state = {}
    for name, weight in model.backbone.state_dict().items():
        name = name.replace("stages.", "layers.")
        if name.startswith("merges."):
            stage, rest = name.removeprefix("merges.").split(".", 1)
            name = f"layers.{stage}.downsample.{rest}"
        if name.startswith(("patch_embed", "layers")):
            state[name] = weight + 1 if weight.is_floating_point() else weight
    for name in [name for name in state if name.endswith("bias_table")]:
        state[name] = torch.rand((2 * window - 1) ** 2, state[name].shape[1])
    state |= {"norm.weight": torch.ones(128), "head.weight": torch.ones(10, 128)}
    state |= {"layers.0.blocks.0.attn_mask": torch.ones(4)}
    return {"model": state}


def test_a_checkpoint_carries_its_config_and_loads_again(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model", iteration=3)
    assert read_trained_config(tmp_path / "model.pth").MODEL.SWIN.WINDOW_SIZE == 4
    other = build_model(tiny_cfg)
    rest = RefSegCheckpointer(other).load(str(tmp_path / "model.pth"))
    assert rest["iteration"] == 3
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name])


def test_a_full_disk_leaves_the_earlier_checkpoints(model, tiny_cfg, tmp_path):
    checkpointer = RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg)
    checkpointer.save("model_0")
    # The system refuses to let a file grow past half a checkpoint, as it would on a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    half = (tmp_path / "model_0.pth").stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model_1\.pth could not be written .*--resume"):
            checkpointer.save("model_1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0.pth"


def test_a_swin_release_is_loaded_and_reported(model, tiny_cfg, tmp_path, caplog):
    path = tmp_path / "swin.pth"
    released = swin_release(model)
    torch.save(released, path)
    other = build_model(tiny_cfg)
    with caplog.at_level("INFO"):
        RefSegCheckpointer(other).load(str(path))
    loaded = other.state_dict()
    for name, weight in (
        ("backbone.patch_embed.proj.weight", "patch_embed.proj.weight"),
        ("backbone.stages.2.blocks.1.attn.qkv.weight", "layers.2.blocks.1.attn.qkv.weight"),
        ("backbone.merges.1.reduction.weight", "layers.1.downsample.reduction.weight"),
    ):
        assert torch.equal(loaded[name], released["model"][weight])
    assert "not used: layers.0.blocks.0.attn.relative_position_index" in caplog.text
    assert "head.weight" in caplog.text


def test_every_swin_weight_of_the_model_finds_its_counterpart(model):
    renamed, dropped = rename_swin_weights(swin_release(model)["model"])
    swin = ("patch_embed", "stages", "merges")
    wanted = {
        name
        for name in model.backbone.state_dict()
        if name.startswith(swin) and not name.endswith("relative_position_index")
    }
    assert set(renamed) == wanted
    assert {"norm.weight", "head.weight", "layers.0.blocks.0.attn_mask"} <= set(dropped)


def test_another_window_resizes_the_position_tables(model, tiny_cfg, tmp_path):
    path = tmp_path / "swin.pth"
    torch.save(swin_release(model, window=7), path)
    RefSegCheckpointer(build_model(tiny_cfg)).load(str(path))
    table = torch.arange(13.0).repeat(13, 1).reshape(-1, 1)  # grows along x
    resized = resize_position_table(table, 49).reshape(7, 7)
    assert torch.allclose(resized, resized[:1].expand(7, -1), atol=1e-5)
    assert resized[0, 3].item() == pytest.approx(6, abs=1e-4)
    assert (resized[0].diff() > 0).all()


def broken_release(model, change):
    """A release's state after ``change(state)``."""
    state = swin_release(model)["model"]
    change(state)
    return state


OTHER_SWINS = {
    "of the second version": (
        lambda state: state.update({"layers.0.blocks.0.attn.logit_scale": torch.ones(1)}),
        "release of Swin V2, but the backbone is Swin V1",
    ),
    "with fewer blocks": (
        lambda state: [state.pop(name) for name in list(state) if "layers.2.blocks.1" in name],
        r"another Swin .* tensors of the backbone are missing \(such as stages.2.blocks.1",
    ),
    "with more blocks": (
        lambda state: state.update({"layers.2.blocks.9.norm1.weight": torch.ones(64)}),
        r"another Swin .* 1 have no place \(such as stages.2.blocks.9.norm1.weight",
    ),
    "with absolute positions": (
        lambda state: state.update(absolute_pos_embed=torch.ones(1, 256, 16)),
        r"1 have no place \(such as absolute_pos_embed",
    ),
}


@pytest.mark.parametrize("case", OTHER_SWINS)
def test_a_release_of_another_swin_is_refused_and_named(model, tmp_path, case):
    change, message = OTHER_SWINS[case]
    torch.save({"model": broken_release(model, change)}, tmp_path / "swin.pth")
    with pytest.raises(ValueError, match=rf"swin\.pth cannot be used: .*{message}"):
        RefSegCheckpointer(model).load(str(tmp_path / "swin.pth"))


def save_release(model, path):
    torch.save(swin_release(model), path)


def save_release_as_safetensors(model, path):
    safetensors.torch.save_file(swin_release(model)["model"], path)


def save_wrapped(model, path):
    torch.save({"model": {f"module.{name}": w for name, w in model.state_dict().items()}}, path)


def save_bare(model, path):
    torch.save(model.state_dict(), path)


def save_as_safetensors(model, path):
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    safetensors.torch.save_file(state, path)


def save_in_the_old_format(model, path):
    torch.save({"model": model.state_dict()}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "save",
    [
        *(save_release, save_release_as_safetensors, save_wrapped, save_bare),
        *(save_as_safetensors, save_in_the_old_format),
    ],
)
def test_weights_are_found_however_they_were_saved(model, tiny_cfg, tmp_path, save):
    save(model, tmp_path / "weights.pth")
    other = build_model(tiny_cfg)
    RefSegCheckpointer(other).load(str(tmp_path / "weights.pth"))
    found = other.state_dict()["backbone.patch_embed.proj.weight"]
    wanted = model.state_dict()["backbone.patch_embed.proj.weight"]
    assert torch.equal(found, wanted + ("release" in save.__name__))


def test_a_flipped_bit_is_found(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    path = tmp_path / "model.pth"
    sound = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda record: record.file_size)
    start = record.header_offset + 200  # behind the header and its padding
    for offset in range(start, start + record.file_size - 200, record.file_size // 8):
        flipped = bytearray(sound)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"model\.pth is not .* checksum of its record"):
            RefSegCheckpointer(model).load(str(path))


def test_what_a_checkpoint_carries_is_read_without_its_tensors(model, tiny_cfg, tmp_path):
    """A wrong byte of a tensor is not met; one of what is read is."""
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    path = tmp_path / "model.pth"
    sound = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = {record.filename.split("/", 1)[1]: record for record in archive.infolist()}
    flipped = bytearray(sound)
    flipped[records["data/0"].header_offset + 200] ^= 1
    path.write_bytes(flipped)
    assert read_trained_config(path).INPUT.TOKENIZER == str(path)
    with pytest.raises(ValueError, match="checksum of its record"):
        RefSegCheckpointer(model).load(str(path))
    flipped = bytearray(sound)
    flipped[records["data.pkl"].header_offset + 200] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"model\.pth is not a usable checkpoint: .*data\.pkl"):
        read_trained_config(path)


def test_a_checkpoint_that_grows_when_it_is_read_is_refused(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    with (
        zipfile.ZipFile(tmp_path / "model.pth") as plain,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for record in plain.infolist():
            small.writestr(record.filename, bytes(record.file_size))
    with pytest.raises(ValueError, match="its records take .* more than the file has"):
        RefSegCheckpointer(model).load(str(tmp_path / "small.pth"))
    with pytest.raises(ValueError, match="its records take .* more than the file has"):
        read_trained_config(tmp_path / "small.pth")


def few_numbers_over_a_huge_shape(state):
    state["decoder.classifier.weight"] = torch.zeros(1).expand(10**6, 10**6)


def sparse(state):
    state["decoder.classifier.weight"] = torch.zeros(3, 3).to_sparse()


def text(state):
    state["decoder.classifier.weight"] = "a text"


def not_finite(state):
    state["decoder.classifier.weight"] = state["decoder.classifier.weight"] * float("nan")


def lacking(state):
    del state["decoder.classifier.weight"]


def mostly_anothers(state):
    kept = {"decoder.classifier.weight": state["decoder.classifier.weight"]}
    others = {f"head.{n}": torch.zeros(1) for n in range(3)}
    state.clear()
    state.update(kept | others)


UNUSABLE = {
    few_numbers_over_a_huge_shape: "classifier.weight of shape .* has too few numbers",
    sparse: "classifier.weight is not a dense tensor",
    text: "holds a str under 'decoder.classifier.weight', expected tensors",
    not_finite: r"1 of \d+ tensors are not finite: decoder.classifier.weight",
    lacking: "1 tensors of the model are missing: decoder.classifier.weight",
    mostly_anothers: "only 1 of its 4 tensors belong to this model",
}


@pytest.mark.parametrize("change", UNUSABLE)
def test_weights_that_would_answer_nonsense_are_refused(model, tiny_cfg, tmp_path, change):
    state = model.state_dict()
    change(state)
    content = {"model": state, "config": tiny_cfg.dump()}
    if change is mostly_anothers:
        del content["config"]
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=rf"model\.pth.*{UNUSABLE[change]}"):
        RefSegCheckpointer(model).load(str(tmp_path / "model.pth"))


def test_a_training_may_start_from_a_checkpoint_that_lacks_tensors(model, tiny_cfg, tmp_path):
    state = model.state_dict()
    lacking(state)
    torch.save({"model": state, "config": tiny_cfg.dump()}, tmp_path / "model.pth")
    RefSegCheckpointer(model).resume_or_load(str(tmp_path / "model.pth"), resume=False)


def test_a_model_that_is_not_finite_is_not_saved(model, tiny_cfg, tmp_path):
    checkpointer = RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg)
    checkpointer.save("model_0")
    with torch.no_grad():
        model.decoder.classifier.weight[0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"model_1\.pth was not written: 1 of"):
        checkpointer.save("model_1")
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0.pth"]


def test_another_architecture_is_one_clear_error(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    tiny_cfg.MODEL.DECODER.HIDDEN_DIM = 48
    with pytest.raises(ValueError, match="another architecture; .* tensors have other shapes: dec"):
        RefSegCheckpointer(build_model(tiny_cfg)).load(str(tmp_path / "model.pth"))


def test_no_matching_tensor_is_an_error(model, tmp_path):
    torch.save({"model": nn.Linear(2, 2).state_dict()}, tmp_path / "linear.pth")
    with pytest.raises(ValueError, match="no tensor of the checkpoint belongs to this model"):
        RefSegCheckpointer(model).load(str(tmp_path / "linear.pth"))


class Malicious:
    def __reduce__(self):
        return os.system, ("touch should-not-exist",)


def test_a_checkpoint_with_code_is_refused_and_runs_nothing(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Malicious()}, "bad.pth")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Malicious()))
    for name, message in (("bad.pth", "not a usable checkpoint"), ("bad.pkl", r"can run code")):
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            RefSegCheckpointer(model).load(name)
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("text", ["a: [", "- 1", "just words", "", "MODEL:", "SEED:", 3, None])
def test_a_damaged_config_in_a_checkpoint_is_named(model, tiny_cfg, tmp_path, text):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    content = torch.load(tmp_path / "model.pth", weights_only=True)
    torch.save({**content, "config": text}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"the config that .*model\.pth carries"):
        read_trained_config(tmp_path / "model.pth")


def test_a_damaged_or_missing_file_is_named(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    path = tmp_path / "model.pth"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"model\.pth is not a usable checkpoint"):
        RefSegCheckpointer(model).load(str(path))
    with pytest.raises(FileNotFoundError, match=r"gone\.pth is missing"):
        RefSegCheckpointer(model).load(str(tmp_path / "gone.pth"))


def test_a_checkpoint_from_before_tokenizers_were_carried_uses_the_one_its_config_names(
    model, tiny_cfg, tmp_path
):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    path = tmp_path / "model.pth"
    assert read_trained_config(path).INPUT.TOKENIZER == str(path)
    content = torch.load(path)
    del content["tokenizer"]
    content["config"] = content["config"].replace("    CONFIG: ''\n", "")  # a younger key
    torch.save(content, path)
    assert read_trained_config(path).INPUT.TOKENIZER == "synthrs"
