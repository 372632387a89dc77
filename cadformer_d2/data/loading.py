"""Data loaders whose order and random choices depend on the seed and the sample's number alone."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..structures import ModelInput, ReferRecord
from .catalog import dataset_records
from .mapper import RefSegMapper
from .tokenization import ExpressionTokenizer, configured_tokenizer
from .truncation import count_truncated
from .validation import quote

logger = logging.getLogger(__name__)

TrainingMapper = Callable[[ReferRecord, np.random.Generator], ModelInput]


class DrawSampler(Sampler):
    """Numbers of this process's draws: start + rank, start + rank + world_size, ... for ever."""

    def __init__(self, *, start: int, rank: int, world_size: int):
        """
        Args:
            start: draws already made by all processes together.
            rank, world_size: of this process.
        """
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start + self.rank, self.world_size)


class RefSegTrainingSet(Dataset):
    """Sample number d of a training run, for any d, without a state.

    Draw d is place d % N of epoch d // N, whose order is a permutation seeded with (seed, epoch);
    every random choice about the sample comes from a generator seeded with (seed, epoch, place).
    So neither the number of workers or processes nor an interruption changes what the model sees.
    """

    def __init__(
        self,
        *,
        records: list[ReferRecord],
        mapper: TrainingMapper,
        seed: int,
    ):
        """
        Args:
            records: one per ref.
            mapper: makes the model's input.
            seed: not negative.
        """
        # Serialised, so that worker processes share one copy.
        self.records = DatasetFromList(records, copy=False)
        self.mapper = mapper
        self.seed = seed
        self.epoch = -1
        self.order = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: int) -> ModelInput:
        epoch, position = divmod(draw, len(self))
        if epoch != self.epoch:
            self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
            self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch, position])
        return self.mapper(self.records[int(self.order[position])], rng)


def training_records(cfg: CfgNode) -> list[ReferRecord]:
    """Records of all DATASETS.TRAIN, one per ref.

    Raises:
        ValueError: DATASETS.TRAIN is empty or names an unknown dataset.
    """
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty; name a dataset, for example ('rrsisd_train',)")
    return [record for name in cfg.DATASETS.TRAIN for record in dataset_records(name)]


def build_training_set(
    cfg: CfgNode, *, seed: int, mapper: TrainingMapper | None = None
) -> RefSegTrainingSet:
    """DATASETS.TRAIN, mapped; logs what INPUT.MAX_TOKENS and the vocabulary take from sentences.

    Args:
        seed: of order and random choices; the same in all processes.
        mapper: RefSegMapper if not given.
    """
    records = training_records(cfg)
    log_sentences(records, configured_tokenizer(cfg))
    mapper = mapper or RefSegMapper(cfg, is_train=True)
    return RefSegTrainingSet(records=records, mapper=mapper, seed=seed)


def build_refseg_train_loader(
    cfg: CfgNode,
    *,
    mapper: TrainingMapper | None = None,
    seed: int | None = None,
    start_draw: int = 0,
) -> DataLoader:
    """Endless batches of training samples for this process.

    Args:
        mapper: (record, generator) -> the model's input; RefSegMapper if not given.
        seed: of order and random choices; SEED if not given, one that all processes share where
            that is negative.
        start_draw: samples seen before, by all processes together; for a resumed run.

    Raises:
        ValueError: SOLVER.IMS_PER_BATCH is not a multiple of the number of processes.
    """
    world_size = comm.get_world_size()
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, which {world_size} processes "
            "cannot share evenly; choose a multiple"
        )
    if seed is None:
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    return DataLoader(
        build_training_set(cfg, seed=seed, mapper=mapper),
        sampler=DrawSampler(start=start_draw, rank=comm.get_rank(), world_size=world_size),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
        # From pinned memory a batch goes to the GPU while the GPU works.
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),
    )


def build_refseg_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Batches of one evaluation dataset, each process its share, in the dataset's order."""
    records = dataset_records(dataset_name)
    mapper = RefSegMapper(cfg, is_train=False)
    expressions = (text for record in records for text in record["expressions"])
    warn_of_unknown(expressions, mapper.network_input.tokenizer)
    return build_detection_test_loader(
        records,
        mapper=mapper,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_size=cfg.TEST.BATCH_SIZE,
    )


def log_sentences(records: list[ReferRecord], tokenizer: ExpressionTokenizer) -> None:
    """Say how many training sentences INPUT.MAX_TOKENS cuts, and how many say nothing."""
    expressions = [text for record in records for text in record["expressions"]]
    cut = count_truncated(expressions, tokenizer)
    logger.info(
        "%d refs with %d sentences; %d sentences (%.1f %%) are cut at %d tokens",
        len(records),
        len(expressions),
        cut,
        100 * cut / len(expressions),
        tokenizer.max_tokens,
    )
    warn_of_unknown(expressions, tokenizer)


def warn_of_unknown(expressions: Iterable[str], tokenizer: ExpressionTokenizer) -> None:
    """Say how many sentences a network cannot read at all."""
    unknown = [text for text in expressions if tokenizer.is_unknown(text)]
    if unknown:
        logger.warning(
            "the vocabulary (INPUT.TOKENIZER) has no word of %d sentences, for example %s",
            len(unknown),
            quote(unknown[0]),
        )
