"""Whether there is a target at all: what training, evaluation and old checkpoints make of it."""

from pathlib import Path

import pytest
import torch
from conftest import make_sample, make_tiny_cfg
from detectron2.modeling import build_model
from torch.nn import functional

from cadformer_d2.checkpoint import RefSegCheckpointer, read_trained_config
from cadformer_d2.engine.setup import load_config
from cadformer_d2.model_cost import count_flops, count_parameters, random_sample
from cadformer_d2.modeling.presence import PRESENCE_REGISTRY
from cadformer_d2.modeling.registry import registered_names

CONFIGS = Path(__file__).parent.parent.parent / "configs"
METHODS = {
    "CADFormer": "rrsisd.yaml",
    "LAVT": "baselines/lavt_rrsisd.yaml",
    "LGCE": "baselines/lgce_rrsisd.yaml",
    "RMSIN": "baselines/rmsin_rrsisd.yaml",
    "FIANet": "baselines/fianet_rrsisd.yaml",
}
SMALL = (
    (
        "MODEL.DEVICE cpu MODEL.WEIGHTS '' MODEL.TEXT_ENCODER.WEIGHTS '' "
        "MODEL.TEXT_ENCODER.HIDDEN_SIZE 32 MODEL.TEXT_ENCODER.NUM_HEADS 2 "
        "MODEL.TEXT_ENCODER.FFN_DIM 64 MODEL.TEXT_ENCODER.NUM_LAYERS 1 "
        "MODEL.TEXT_ENCODER.VOCAB_SIZE 320 MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.DEPTHS (1,1,1,1) "
        "MODEL.SWIN.NUM_HEADS (1,2,4,8) MODEL.DECODER.HIDDEN_DIM 24 MODEL.DECODER.NUM_HEADS 2 "
        "MODEL.DECODER.FFN_DIM 48 INPUT.SIZE (64,64) MODEL.PRESENCE.NAME PooledPresence"
    )
    .replace("''", "")
    .split(" ")
)


def build(name="PooledPresence", **changes):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    cfg.MODEL.PRESENCE.NAME = name
    for key, value in changes.items():
        cfg.MODEL.PRESENCE[key] = value
    return build_model(cfg)


def without_target(sample):
    return {**sample, "gt_mask": torch.zeros_like(sample["gt_mask"])}


@torch.no_grad()
def ask(model, *samples):
    return model.eval()(list(samples))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_a_line_of_its_config(method):
    cfg = load_config(str(CONFIGS / METHODS[method]), SMALL)
    model = build_model(cfg).train()
    losses = model([make_sample(seed=0), without_target(make_sample(seed=1))])
    assert losses["loss_presence"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_papers_configs_have_none():
    for file in METHODS.values():
        assert load_config(str(CONFIGS / file), SMALL[:-2]).MODEL.PRESENCE.NAME == ""


def test_the_loss_is_the_cross_entropy_of_an_empty_mask_or_not():
    model = build(LOSS_WEIGHT=0.5).train()
    batch = [make_sample(seed=0), without_target(make_sample(seed=1)), make_sample(seed=2)]
    seen = []
    handle = model.presence.register_forward_hook(lambda *call: seen.append(call[-1]))
    loss = model(batch)["loss_presence"]
    handle.remove()
    there, not_there, also_there = seen[0].detach().double()
    expected = [functional.softplus(z) for z in (-there, not_there, -also_there)]
    assert loss.item() == pytest.approx(0.5 * float(sum(expected)) / 3, rel=1e-5)


def test_presence_leaves_the_masks_logits_alone():
    # The mask's gradient is that of a model without presence, but for what the features share.
    model = build().train()
    presence = model.presence
    logits = torch.randn(2, 2, 16, 16, requires_grad=True)
    maps = {
        name: torch.randn(2, norm.normalized_shape[0], 16 >> i, 16 >> i, requires_grad=True)
        for i, (name, norm) in enumerate(presence.map_norms.items())
    }
    text = model.encode_text([make_sample(seed=0), make_sample(seed=1)])
    presence(maps, text, logits).sum().backward()
    assert logits.grad is None
    assert all(map_.grad.abs().sum() > 0 for map_ in maps.values())


@pytest.mark.parametrize("name", registered_names(PRESENCE_REGISTRY))
def test_the_probability_does_not_depend_on_the_batch_or_on_padding(name):
    model = build(name, MIN_AREA=0.5)
    samples = [make_sample(seed=i, num_tokens=5 + 9 * i) for i in range(3)]
    together = ask(model, *samples)
    for sample, expected in zip(samples, together, strict=True):
        (alone,) = ask(model, sample)
        torch.testing.assert_close(alone["presence"], expected["presence"], atol=1e-5, rtol=1e-4)
        assert alone["presence"].shape == () and 0 < alone["presence"] < 1


def test_the_text_refined_last_is_built_for_presence_alone(tiny_cfg):
    tiny_cfg.MODEL.DECODER.NAME = "SimpleDecoding"  # reads none
    for name, is_built in (("", False), ("MaskArea", False), ("PooledPresence", True)):
        tiny_cfg.MODEL.PRESENCE.NAME = name
        *_, last = build_model(tiny_cfg).backbone.alignments
        assert (last.vglva is not None) == is_built


def test_an_answer_below_the_threshold_is_blank():
    sample = make_sample(seed=0, native_size=(81, 133))
    (open_,), (blank,) = (ask(build(THRESHOLD=t), sample) for t in (0.0, 1.0))
    assert open_["presence"] == blank["presence"] and 0 < blank["presence"] < 1
    assert not open_["sem_seg"][1].eq(0).all()
    assert blank["sem_seg"][0].eq(1).all() and blank["sem_seg"][1].eq(0).all()
    assert blank["sem_seg"].shape == (2, 81, 133)


def test_a_mask_of_the_smallest_area_has_a_probability_of_one_half():
    area = build("MaskArea", MIN_AREA=0.25).presence
    for count, expected in ((0, 0.0), (16, 0.5), (48, 0.75)):
        target = torch.full((1, 8, 8), -3.0)
        target.flatten()[:count] = 3.0
        logit = area({}, None, torch.stack([-target, target], 1))
        assert logit.sigmoid().item() == pytest.approx(expected)


def test_an_area_needs_no_training_and_takes_the_weights_of_any_checkpoint(tmp_path):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    cfg.MODEL.PRESENCE.NAME = "PooledPresence"
    trained = build_model(cfg)
    RefSegCheckpointer(trained, str(tmp_path), config=cfg).save("trained")
    read = read_trained_config(tmp_path / "trained.pth")
    assert read.MODEL.PRESENCE.NAME == "PooledPresence"
    read.MODEL.PRESENCE.NAME = "MaskArea"
    plain = build_model(read)
    RefSegCheckpointer(plain).load(str(tmp_path / "trained.pth"))
    assert count_parameters(plain)["presence"] == 0
    assert plain.train()([make_sample()]).keys() == {"loss_ce", "loss_dice"}
    (answer,) = ask(plain, make_sample())
    assert 0 < answer["presence"] < 1


def test_a_checkpoint_from_before_answers_as_before_and_starts_a_model_with_presence(tmp_path):
    torch.manual_seed(0)
    cfg = make_tiny_cfg()
    old = build_model(cfg)
    written = cfg.clone()
    del written.MODEL["PRESENCE"]  # as it was written then
    RefSegCheckpointer(old, str(tmp_path), config=written).save("old")
    read = read_trained_config(tmp_path / "old.pth")
    again = build_model(read)
    RefSegCheckpointer(again).load(str(tmp_path / "old.pth"))
    (before,), (after,) = ask(old, make_sample()), ask(again, make_sample())
    assert after.keys() == {"sem_seg"} and torch.equal(before["sem_seg"], after["sem_seg"])
    started = build(THRESHOLD=0.0)
    RefSegCheckpointer(started).load(str(tmp_path / "old.pth"), checkpointables=[])
    (answer,) = ask(started, make_sample())
    torch.testing.assert_close(answer["sem_seg"], before["sem_seg"])


def test_costs_know_the_component(tiny_cfg):
    model = build()
    counted = sum(p.numel() for p in model.presence.parameters())
    assert count_parameters(model)["presence"] == counted > 0
    flops = count_flops(model, random_sample(tiny_cfg, 7))
    assert flops["presence"] > counted / 2


def test_a_compiled_model_answers_the_same():
    sample = make_sample()
    model = build(THRESHOLD=0.0)
    (plain,) = ask(model, sample)
    model.compile(backend="eager")
    (compiled,) = ask(model, sample)
    torch.testing.assert_close(compiled["presence"], plain["presence"])
    torch._dynamo.reset()
