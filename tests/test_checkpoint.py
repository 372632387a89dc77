import os
import pickle
import resource

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from cadformer_d2.checkpoint import (
    RefSegCheckpointer,
    checkpoint_config,
    rename_swin_weights,
    resize_position_table,
    trained_config,
)


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
    assert "WINDOW_SIZE: 4" in checkpoint_config(tmp_path / "model.pth")
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
    swin = ("backbone.patch_embed", "backbone.stages", "backbone.merges")
    wanted = {
        name
        for name in model.state_dict()
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
        trained_config(tmp_path / "model.pth")


def test_a_damaged_or_missing_file_is_named(model, tiny_cfg, tmp_path):
    RefSegCheckpointer(model, str(tmp_path), config=tiny_cfg).save("model")
    path = tmp_path / "model.pth"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"model\.pth is not a usable checkpoint"):
        RefSegCheckpointer(model).load(str(path))
    with pytest.raises(FileNotFoundError, match=r"gone\.pth is missing"):
        RefSegCheckpointer(model).load(str(tmp_path / "gone.pth"))
