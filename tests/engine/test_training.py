import json
import math
from typing import ClassVar

import pytest
import torch
from conftest import make_tiny_cfg, run_in_two_processes
from detectron2.data.transforms import HFlipTransform
from detectron2.engine import DefaultTrainer, hooks
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from detectron2.utils import comm
from refer_files import ReferFiles
from torch import nn

from cadformer_d2.data.catalog import register_datasets
from cadformer_d2.data.loading import build_refseg_train_loader
from cadformer_d2.data.mapper import RefSegMapper
from cadformer_d2.engine.distributed import synchronize_batch_norms
from cadformer_d2.engine.optimizer import SCHEDULES, build_lr_scheduler, build_optimizer
from cadformer_d2.engine.trainer import RefSegTrainer, derive_iterations, scale_to_processes


def training_cfg(tmp_path, *, name="run", **changes):
    if not (tmp_path / "synthrs").exists():
        ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.VAL = ("synthrs_train",), ("synthrs_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = 6, 2, 2
    cfg.OUTPUT_DIR = str(tmp_path / name)
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


class InterruptedRunError(Exception):
    pass


def train(cfg, *, resume=False, stop_before=None):
    torch.manual_seed(0)  # the start of the weights, as default_setup does in train_net
    trainer = RefSegTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    step = trainer._trainer.run_step
    losses = []

    def run_step():
        if trainer.iter == stop_before:
            raise InterruptedRunError
        step()
        losses.append(trainer.storage.latest().get("total_loss", (None,))[0])

    trainer._trainer.run_step = run_step
    trainer.train()
    return trainer, losses


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path):
    _, whole = train(training_cfg(tmp_path, name="whole"))
    cfg = training_cfg(tmp_path, name="cut")
    with pytest.raises(InterruptedRunError):
        train(cfg, stop_before=4)
    resumed, losses = train(cfg, resume=True)
    assert losses == whole[4:]
    assert resumed.checkpointer.has_checkpoint()


def test_a_resumed_run_takes_the_learning_rate_it_is_asked_for(tmp_path):
    cfg = training_cfg(tmp_path)
    with pytest.raises(InterruptedRunError):
        train(cfg, stop_before=4)
    cfg.SOLVER.BASE_LR = cfg.SOLVER.BASE_LR / 8
    trainer = RefSegTrainer(cfg)
    trainer.resume_or_load(resume=True)
    fresh = RefSegTrainer(cfg)._trainer.optimizer.param_groups
    for group, wanted in zip(trainer._trainer.optimizer.param_groups, fresh, strict=True):
        assert group["initial_lr"] == wanted["initial_lr"]
        # Polynomial decay, at iteration 4 of 6.
        assert group["lr"] == pytest.approx(group["initial_lr"] * (1 - 4 / 6) ** 0.9)


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(tmp_path):
    _, first = train(training_cfg(tmp_path, name="first"))
    _, second = train(training_cfg(tmp_path, name="second"))
    _, other = train(training_cfg(tmp_path, name="other", SEED=7))
    assert first == second != other


def test_the_best_checkpoint_is_kept_and_its_score_survives_a_resume(tmp_path):
    cfg = training_cfg(tmp_path)
    trainer, _ = train(cfg)
    assert (tmp_path / "run" / "model_best.pth").is_file()
    metrics = json.loads((tmp_path / "run" / "metrics_synthrs_val.json").read_text())
    assert metrics["num_samples"] == 6
    # A resumed run goes on from the last state, which the best need not be.
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"
    again = RefSegTrainer(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == 6
    hook = next(hook for hook in again._hooks if type(hook).__name__ == "BestCheckpointer")
    assert hook.best_metric is not None


def test_six_samples_can_be_learnt_by_heart(tmp_path):
    cfg = training_cfg(
        tmp_path,
        **{"SOLVER.MAX_ITER": 90, "SOLVER.BASE_LR": 0.003, "SOLVER.CHECKPOINT_PERIOD": 1000}
        | {"TEST.EVAL_PERIOD": 0, "SOLVER.IMS_PER_BATCH": 6, "MODEL.SWIN.DROP_PATH_RATE": 0.0},
    )
    _, losses = train(cfg)
    assert losses[-1] < 0.2 * losses[0]


def test_refs_to_several_targets_or_none_train_and_are_scored(tmp_path):
    files = ReferFiles(tmp_path, name="gsynthrs")
    for ref in files.refs:  # one target, none, and two, in every split
        meant = {1: [ref["ann_id"]], 2: [-1], 3: [7, 8]}
        ref["ann_id"] = meant[ref["image_id"]]
    files.write()
    cfg = training_cfg(tmp_path, **{"MODEL.PRESENCE.NAME": "PooledPresence"})
    cfg.DATASETS.TRAIN, cfg.DATASETS.VAL = ("gsynthrs_train",), ("gsynthrs_val",)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = 3, 2
    trainer, losses = train(cfg)
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    assert trainer.storage.latest()["loss_presence"][0] > 0
    cfg.DATASETS.TEST = ("gsynthrs_test",)
    found = trainer.test(cfg, trainer.model)["referring_seg"]
    assert found["num_samples"] == 6  # two expressions of each ref
    assert {"gIoU", "cIoU", "N-acc", "T-acc"} <= found.keys()


def test_a_loss_that_is_not_finite_names_the_samples_and_stops_before_the_step(tmp_path):
    cfg = training_cfg(tmp_path)
    trainer = RefSegTrainer(cfg)
    trainer.resume_or_load(resume=False)
    with torch.no_grad():
        trainer.model.decoder.classifier.bias.fill_(float("nan"))
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    with pytest.raises(FloatingPointError, match=r"iteration 0, on .*\.jpg \(ref \d, sentence \d+"):
        trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num())


@pytest.mark.parametrize("learning_rate", [1e10, 1e30, 1e38])
def test_a_training_that_diverges_leaves_finite_checkpoints_only(tmp_path, learning_rate):
    changes = {"SOLVER.BASE_LR": learning_rate, "SOLVER.CHECKPOINT_PERIOD": 1}
    with pytest.raises(FloatingPointError, match="heckpoints .*finite.* --resume"):
        train(training_cfg(tmp_path, **changes, **{"TEST.EVAL_PERIOD": 0}))
    for path in (tmp_path / "run").glob("*.pth"):
        weights = torch.load(path)["model"].values()
        assert all(weight.isfinite().all() for weight in weights), path


def test_bfloat16_trains_on_a_cpu(tmp_path):
    _, exact = train(training_cfg(tmp_path, name="fp32"))
    _, mixed = train(training_cfg(tmp_path, name="bf16", **{"SOLVER.AMP.ENABLED": True}))
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=0.1)


def train_here(folder, root):
    register_datasets(root)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.VAL = ("synthrs_train",), ("synthrs_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = 2, 2, 2
    cfg.OUTPUT_DIR = folder
    train(cfg)


def test_two_processes_train_and_score_what_one_does(tmp_path):
    ReferFiles(tmp_path).write()
    run_in_two_processes(train_here, str(tmp_path / "two"), str(tmp_path))
    metrics = json.loads((tmp_path / "two" / "metrics_synthrs_val.json").read_text())
    assert metrics["num_samples"] == 6
    assert (tmp_path / "two" / "model_final.pth").is_file()


def validate_here(folder, root):
    cfg = training_cfg(root, name=f"{folder}/run", **{"MODEL.SYNC_BATCH_NORM": False})
    trainer, _ = train(cfg)
    torch.save(trainer.model.state_dict(), f"{folder}/rank{comm.get_rank()}.pth")


def test_every_process_validates_the_model_that_is_saved(tmp_path):
    ReferFiles(tmp_path).write()
    run_in_two_processes(validate_here, str(tmp_path), tmp_path)
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def normalize_here(folder, is_synchronized):
    norm = nn.Sequential(nn.BatchNorm2d(3))
    whole = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    if is_synchronized:
        norm = synchronize_batch_norms(norm)
    rank = comm.get_rank()
    output = norm(whole[2 * rank : 2 * rank + 2])
    torch.save((output, norm.state_dict()), f"{folder}/rank{rank}.pth")


@pytest.mark.parametrize("is_synchronized", [True, False])
def test_synchronized_norms_see_the_samples_of_both_processes(tmp_path, is_synchronized):
    run_in_two_processes(normalize_here, str(tmp_path), is_synchronized)
    norm = nn.Sequential(nn.BatchNorm2d(3))
    wanted = norm(torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
    (first, _), (second, state) = (torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    assert torch.allclose(torch.cat([first, second]), wanted, atol=1e-5) == is_synchronized
    assert state.keys() == norm.state_dict().keys()
    means = state["0.running_mean"], norm.state_dict()["0.running_mean"]
    assert torch.allclose(*means) == is_synchronized


def normalize_bfloat16_here(folder):
    norm = synchronize_batch_norms(nn.Sequential(nn.BatchNorm2d(3)))
    x = 20 + torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.save(norm(x.bfloat16()), f"{folder}/rank{comm.get_rank()}.pth")


def test_synchronized_norms_keep_variances_of_bfloat16(tmp_path):
    run_in_two_processes(normalize_bfloat16_here, str(tmp_path))
    output = torch.load(tmp_path / "rank0.pth")
    assert output.dtype == torch.bfloat16
    assert output.float().std().item() == pytest.approx(1, abs=0.05)


def test_a_norm_that_a_cpu_cannot_synchronize_is_refused():
    with pytest.raises(ValueError, match="set MODEL.SYNC_BATCH_NORM False"):
        synchronize_batch_norms(nn.Sequential(nn.BatchNorm1d(3)))


def test_every_trainable_parameter_is_in_exactly_one_group(tiny_cfg):
    model = build_model(tiny_cfg)
    optimizer = build_optimizer(tiny_cfg, model)
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_norms_biases_and_position_tables_do_not_decay(tiny_cfg):
    model = build_model(tiny_cfg)
    decay = {
        id(p): group["weight_decay"]
        for group in build_optimizer(tiny_cfg, model).param_groups
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        is_free = name.endswith(("bias", "bias_table")) or "norm" in name.lower()
        if is_free:
            assert decay[id(parameter)] == 0, name
        elif parameter.dim() > 1:
            assert decay[id(parameter)] == 0.01, name


def test_text_encoder_and_network_can_have_learning_rates_of_their_own(tiny_cfg):
    """The network of the backbone is what pre-trained weights are for: no alignment, no norm."""
    tiny_cfg.SOLVER.TEXT_ENCODER_LR_FACTOR = 0.1
    tiny_cfg.SOLVER.BACKBONE_LR_FACTOR = 0.2
    model = build_model(tiny_cfg)
    rates = {
        id(p): group["lr"]
        for group in build_optimizer(tiny_cfg, model).param_groups
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        expected = 5e-5
        if name.startswith("text_encoder."):
            expected = 5e-6
        elif name.startswith(("backbone.patch_embed.", "backbone.stages.", "backbone.merges.")):
            expected = 1e-5
        assert rates[id(parameter)] == pytest.approx(expected), name


def test_the_learning_rate_follows_the_polynomial_every_iteration(tiny_cfg):
    tiny_cfg.SOLVER.MAX_ITER = 10
    optimizer = build_optimizer(tiny_cfg, build_model(tiny_cfg))
    scheduler = build_lr_scheduler(tiny_cfg, optimizer)
    for iteration in range(10):
        expected = 5e-5 * (1 - iteration / 10) ** 0.9
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


def rates(cfg, **changes):
    """Multiples of the base rate at each iteration of a schedule."""
    cfg.merge_from_list([part for item in changes.items() for part in item])
    cfg.SOLVER.MAX_ITER = 10
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"] / cfg.SOLVER.BASE_LR)
        optimizer.step()
        scheduler.step()
    return found


def test_detectron2s_schedules_go_by_their_names(tiny_cfg):
    tiny_cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    cosine = [0.5 * (1 + math.cos(math.pi * t / 10)) for t in range(10)]
    assert rates(tiny_cfg) == pytest.approx(cosine)
    ends_at = tiny_cfg.SOLVER.BASE_LR / 4
    half = [0.25 + 0.75 * value for value in cosine]
    assert rates(tiny_cfg, **{"SOLVER.BASE_LR_END": ends_at}) == pytest.approx(half)
    tiny_cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
    steps = rates(tiny_cfg, **{"SOLVER.STEPS": (4, 8), "SOLVER.GAMMA": 0.5})
    assert steps == pytest.approx([1] * 4 + [0.5] * 4 + [0.25] * 2)
    warmed = rates(tiny_cfg, **{"SOLVER.WARMUP_ITERS": 2, "SOLVER.WARMUP_FACTOR": 0.2})
    assert warmed == pytest.approx([0.2, 0.6, *steps[2:]])
    for name in SCHEDULES:
        tiny_cfg.SOLVER.LR_SCHEDULER_NAME = name
        assert len(rates(tiny_cfg)) == 10


def test_a_schedule_that_cannot_be_says_why(tiny_cfg):
    with pytest.raises(ValueError, match="'CosineLR'; known names: PolynomialLR, WarmupCosineLR"):
        rates(tiny_cfg, **{"SOLVER.LR_SCHEDULER_NAME": "CosineLR"})
    with pytest.raises(ValueError, match=r"BASE_LR_END is 1\.0; expected: 0 to SOLVER\.BASE_LR"):
        named = {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "SOLVER.BASE_LR_END": 1.0}
        rates(tiny_cfg, **named)


class CountingEvaluator(DatasetEvaluator):
    def __init__(self, *, factor=1):
        self.factor = factor

    def reset(self):
        self.number = 0

    def process(self, inputs, outputs):
        self.number += len(inputs)

    def evaluate(self):
        return {"counting": {"samples": self.factor * self.number}}


class OwnTrainer(RefSegTrainer):
    """Overrides every step, with the signatures of Detectron2's DefaultTrainer."""

    called: ClassVar[list[str]] = []

    @classmethod
    def build_model(cls, cfg):
        cls.called.append("model")
        return super().build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg, model):
        cls.called.append("optimizer")
        return torch.optim.SGD(model.parameters(), lr=cfg.SOLVER.BASE_LR)

    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        cls.called.append("scheduler")
        return torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)

    @classmethod
    def build_train_loader(cls, cfg):
        cls.called.append("train loader")
        mapper = RefSegMapper(cfg, is_train=True, augmentations=[HFlipTransform(60)])

        def noted(record, rng):
            cls.called.append("mapper")
            return mapper(record, rng)

        return build_refseg_train_loader(cfg, mapper=noted)

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        cls.called.append(f"test loader {dataset_name}")
        return super().build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        cls.called.append(f"evaluator {dataset_name}")
        ours = super().build_evaluator(cfg, dataset_name)
        return DatasetEvaluators([ours, CountingEvaluator()])

    def build_hooks(self):
        return [*super().build_hooks(), hooks.CallbackHook(after_train=self.note)]

    def build_writers(self):
        self.called.append("writers")
        return []

    def note(self, trainer):
        self.called.append("hook")


def test_every_step_can_be_overridden_as_in_detectron2(tmp_path):
    cfg = training_cfg(tmp_path, **{"TEST.EVAL_PERIOD": 6})
    OwnTrainer.called.clear()
    (tmp_path / "run").mkdir()  # as Detectron2's default_setup makes it
    trainer = OwnTrainer(cfg)
    assert isinstance(trainer, DefaultTrainer)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(cfg.SOLVER.BASE_LR / 4)
    once = ["train loader", "model", "optimizer", "scheduler"]
    assert OwnTrainer.called[:4] == once and OwnTrainer.called.count("mapper") == 12
    assert OwnTrainer.called.count("writers") == 1
    assert OwnTrainer.called[-3:] == ["test loader synthrs_val", "evaluator synthrs_val", "hook"]
    assert trainer._last_eval_results["counting"] == {"samples": 6}
    assert "mIoU" in trainer._last_eval_results["referring_seg"]
    again = OwnTrainer(cfg)
    again.resume_or_load(resume=True)
    assert again.start_iter == 6 and again.data_loader.sampler.start == 12
    # A scheduler of the user's own resumes by itself.
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(cfg.SOLVER.BASE_LR / 4)


def test_a_model_is_scored_by_the_evaluators_that_are_handed_over(tmp_path):
    cfg = training_cfg(tmp_path)
    cfg.DATASETS.TEST = ("synthrs_val", "synthrs_test")
    model = RefSegTrainer.build_model(cfg).train()
    results = RefSegTrainer.test(cfg, model, [CountingEvaluator(), CountingEvaluator(factor=2)])
    assert {name: result["counting"]["samples"] for name, result in results.items()} == {
        "synthrs_val": 6,
        "synthrs_test": 12,
    }
    assert model.training
    with pytest.raises(ValueError, match="1 evaluators for 2 datasets"):
        RefSegTrainer.test(cfg, model, CountingEvaluator())
    cfg.DATASETS.TEST = ("synthrs_test",)
    result = RefSegTrainer.test(cfg, model, evaluators=CountingEvaluator())
    assert result == {"counting": {"samples": 6}}


def test_a_loader_of_unknown_length_needs_its_number_of_iterations(tmp_path):
    class Endless(RefSegTrainer):
        @classmethod
        def build_train_loader(cls, cfg):
            return iter(super().build_train_loader(cfg))

    cfg = training_cfg(tmp_path, **{"TEST.EVAL_PERIOD": 0})
    assert Endless(cfg).max_iter == 6
    cfg.SOLVER.MAX_ITER = -1
    with pytest.raises(
        ValueError, match=r"SOLVER\.MAX_ITER is -1, but the length of the training loader"
    ):
        Endless(cfg)


def test_what_follows_from_the_epochs_does_so_in_any_number_of_processes(tiny_cfg, monkeypatch):
    tiny_cfg.SOLVER.REFERENCE_WORLD_SIZE, tiny_cfg.SOLVER.CHECKPOINT_PERIOD = 1, 400
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 4)
    scaled = derive_iterations(scale_to_processes(tiny_cfg), num_refs=12181)
    assert scaled.SOLVER.IMS_PER_BATCH == 8 and scaled.SOLVER.CHECKPOINT_PERIOD == 100
    assert scaled.SOLVER.MAX_ITER == 40 * 1523 and scaled.TEST.EVAL_PERIOD == 1523


def test_iterations_follow_epochs_and_a_number_given_wins(tiny_cfg):
    derived = derive_iterations(tiny_cfg, num_refs=12181)
    assert derived.SOLVER.MAX_ITER == 40 * 6090
    assert derived.SOLVER.CHECKPOINT_PERIOD == derived.TEST.EVAL_PERIOD == 6090
    tiny_cfg.SOLVER.MAX_ITER = 7
    assert derive_iterations(tiny_cfg, num_refs=12181).SOLVER.MAX_ITER == 7
