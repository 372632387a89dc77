import pytest
import torch
from conftest import make_tiny_cfg
from refer_files import ReferFiles

from cadformer_d2.data.catalog import load_dataset_records, register_datasets
from cadformer_d2.data.loading import (
    DrawSampler,
    build_refseg_test_loader,
    build_refseg_train_loader,
    build_training_set,
)


@pytest.fixture
def cfg(tmp_path):
    ReferFiles(tmp_path).write()
    register_datasets(tmp_path)
    cfg = make_tiny_cfg()
    cfg.DATASETS.TRAIN = ("synthrs_train",)
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def draws(cfg, number, **options):
    """(ref, sentence) of the first samples a training would see."""
    batches = iter(build_refseg_train_loader(cfg, seed=3, **options))
    samples = []
    while len(samples) < number:
        samples += next(batches)
    return [(sample["ref_id"], sample["sent_id"]) for sample in samples[:number]]


def test_two_workers_see_what_none_sees(cfg):
    alone = draws(cfg, 12)
    cfg.DATALOADER.NUM_WORKERS = 2
    assert draws(cfg, 12) == alone


def test_a_resumed_run_sees_what_it_would_have_seen(cfg):
    assert draws(cfg, 12)[8:] == draws(cfg, 4, start_draw=8)


def test_every_epoch_has_every_ref_once_in_its_own_order(cfg):
    refs = [ref for ref, _ in draws(cfg, 36)]
    epochs = [refs[start : start + 3] for start in range(0, 36, 3)]
    assert all(sorted(epoch) == [1, 4, 7] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_processes_share_the_draws_of_one():
    samplers = [iter(DrawSampler(start=4, rank=rank, world_size=2)) for rank in range(2)]
    assert [next(samplers[0]), next(samplers[1]), next(samplers[0])] == [4, 5, 6]


def test_a_batch_that_processes_cannot_share_is_refused(cfg, monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 3)
    with pytest.raises(ValueError, match="IMS_PER_BATCH is 2; it must be a multiple of the 3"):
        build_refseg_train_loader(cfg)


def test_evaluation_keeps_the_order_and_the_batch_size(cfg):
    cfg.TEST.BATCH_SIZE = 4
    batches = list(build_refseg_test_loader(cfg, "synthrs_test"))
    assert [len(batch) for batch in batches] == [4, 2]
    assert [s["sent_id"] for batch in batches for s in batch] == [4, 5, 10, 11, 16, 17]
    assert all(
        torch.equal(s["attention_mask"], torch.ones_like(s["input_ids"])) for s in batches[0]
    )


def test_an_unknown_dataset_lists_the_known_ones(cfg):
    with pytest.raises(ValueError, match="unknown dataset 'rrsisd_trian'; known: .*rrsisd.*_train"):
        load_dataset_records("rrsisd_trian")


def test_sentences_that_the_vocabulary_has_no_word_of_are_counted(cfg, tmp_path, caplog):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\nstorage\n")
    cfg.INPUT.TOKENIZER = str(tmp_path)
    build_training_set(cfg, seed=0)
    build_refseg_test_loader(cfg, "synthrs_test")
    # "the roundabout on the left" has none, "the storage tank" has one.
    assert caplog.text.count("has no word of 3 expressions, for example 'the roundabout") == 2
