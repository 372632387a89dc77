"""Data loaders whose order and random choices depend only on the seed and the sample's number."""

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
from .catalog import load_dataset_records
from .mapper import RefSegMapper
from .tokenization import ExpressionTokenizer, build_tokenizer
from .truncation import count_truncated
from .validation import quote

logger = logging.getLogger(__name__)

TrainingMapper = Callable[[ReferRecord, np.random.Generator], ModelInput]


class DrawSampler(Sampler):
    """Endless draw numbers of this process: start + rank, start + rank + world_size, ..."""

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
    """Sample number d of a training run, for any d, without state.

    Draw d is place d % N of epoch d // N, whose order is a permutation seeded with (seed, epoch);
    every random choice about the sample comes from a generator seeded with (seed, epoch, place).
    Neither the number of workers or processes nor an interruption changes what the model sees.
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
            mapper: turns a record into the model's input.
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


def _load_training_records(cfg: CfgNode) -> list[ReferRecord]:
    """Load the records of all DATASETS.TRAIN, one per ref.

    Raises:
        ValueError: DATASETS.TRAIN is empty or names an unknown dataset.
    """
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty; name a dataset, for example ('rrsisd_train',)")
    return [record for name in cfg.DATASETS.TRAIN for record in load_dataset_records(name)]


def build_training_set(
    cfg: CfgNode, *, seed: int, mapper: TrainingMapper | None = None
) -> RefSegTrainingSet:
    """The mapped DATASETS.TRAIN; logs how many expressions INPUT.MAX_TOKENS truncates.

    Args:
        seed: of order and random choices; the same in all processes.
        mapper: None: a RefSegMapper.
    """
    records = _load_training_records(cfg)
    _log_expressions(records, build_tokenizer(cfg))
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
        mapper: (record, generator) -> the model's input; None: a RefSegMapper.
        seed: of order and random choices; None: SEED, or a shared random one if SEED is negative.
        start_draw: samples that all processes together have already seen; for a resumed run.

    Raises:
        ValueError: SOLVER.IMS_PER_BATCH is not a multiple of the number of processes.
    """
    world_size = comm.get_world_size()
    if cfg.SOLVER.IMS_PER_BATCH % world_size:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}; it must be a multiple of the "
            f"{world_size} processes"
        )
    if seed is None:
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    return DataLoader(
        build_training_set(cfg, seed=seed, mapper=mapper),
        sampler=DrawSampler(start=start_draw, rank=comm.get_rank(), world_size=world_size),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
        # A batch in pinned memory is copied to the GPU while the GPU computes.
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),
    )


def build_refseg_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Batches of this process's share of an evaluation dataset, in the dataset's order."""
    records = load_dataset_records(dataset_name)
    mapper = RefSegMapper(cfg, is_train=False)
    expressions = (text for record in records for text in record["expressions"])
    _warn_of_unknown(expressions, mapper.network_input.tokenizer)
    return build_detection_test_loader(
        records,
        mapper=mapper,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        batch_size=cfg.TEST.BATCH_SIZE,
    )


def _log_expressions(records: list[ReferRecord], tokenizer: ExpressionTokenizer) -> None:
    """Log how many expressions INPUT.MAX_TOKENS truncates and how many have no known word."""
    expressions = [text for record in records for text in record["expressions"]]
    cut = count_truncated(expressions, tokenizer)
    logger.info(
        "%d refs with %d expressions; %d expressions (%.1f %%) are truncated at %d tokens",
        len(records),
        len(expressions),
        cut,
        100 * cut / len(expressions),
        tokenizer.max_tokens,
    )
    _warn_of_unknown(expressions, tokenizer)


def _warn_of_unknown(expressions: Iterable[str], tokenizer: ExpressionTokenizer) -> None:
    """Warn of expressions that have no word in the vocabulary."""
    unknown = [text for text in expressions if tokenizer.is_unknown(text)]
    if unknown:
        logger.warning(
            "the vocabulary (INPUT.TOKENIZER) has no word of %d expressions, for example %s",
            len(unknown),
            quote(unknown[0]),
        )
