"""Valid values of a config, beyond the types that yacs checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from detectron2.config import CfgNode
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Period = Annotated[int, Field(ge=-1)]
Names = list[str]
Stages = tuple[Count, Count, Count, Count]


def _all_or_none(number: int) -> AfterValidator:
    """Accept that many values, or none: then the weights' record has them."""

    def check(values: tuple[float, ...]) -> tuple[float, ...]:
        if len(values) not in (0, number):
            raise ValueError(
                f"expected {number} numbers, or none to take those of the weights' record"
            )
        return values

    return AfterValidator(check)


class Section(BaseModel):
    """A section of the config; keys that are not listed may have any value of their type."""

    model_config = ConfigDict(extra="ignore")


class Input(Section):
    FORMAT: Literal["RGB", "BGR"]
    SIZE: Annotated[tuple[Count, ...], _all_or_none(2)]
    MAX_TOKENS: Annotated[int, Field(ge=3)]  # [CLS], a word, [SEP]
    OBJECT_NAMES: Names
    AUGMENTATIONS: list[list[Any]]
    ORIENTATIONS: Names
    RANDOM_ERASE_BOXES: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class TextEncoder(Section):
    NUM_LAYERS: Annotated[int, Field(ge=-1)]
    VOCAB_SIZE: Count
    HIDDEN_SIZE: Count
    NUM_HEADS: Count
    FFN_DIM: Count
    FROZEN: Names
    DROPOUT: Dropout


class Swin(Section):
    EMBED_DIM: Count
    DEPTHS: Stages
    NUM_HEADS: Stages
    WINDOW_SIZE: Count
    DROP_PATH_RATE: Dropout


class Timm(Section):
    STRIDES: Annotated[tuple[Count, ...], Field(min_length=2, max_length=4)]
    DROP_PATH_RATE: Dropout


class Backbone(Section):
    FROZEN_STAGES: Annotated[int, Field(ge=0)]


class Alignment(Section):
    NUM_HEADS: Stages
    DROPOUT: Dropout


class Position(Section):
    NUM_WAVES: Count


class Neck(Section):
    NUM_BLOCKS: Count


class Decoder(Section):
    HIDDEN_DIM: Count
    NUM_HEADS: Count
    FFN_DIM: Count
    DROPOUT: Dropout
    NUM_KERNELS: Count
    SUBPIXELS: Literal[1, 2, 4]


class Presence(Section):
    THRESHOLD: Annotated[float, Field(ge=0, le=1)]
    LOSS_WEIGHT: NotNegative
    HIDDEN_DIM: Count
    MIN_AREA: Annotated[float, Field(gt=0, le=1)]


class Loss(Section):
    CE_WEIGHT: NotNegative
    DICE_WEIGHT: NotNegative
    CLASS_WEIGHTS: tuple[NotNegative, NotNegative]


class Model(Section):
    PIXEL_MEAN: Annotated[tuple[float, ...], _all_or_none(3)]
    PIXEL_STD: Annotated[tuple[Positive, ...], _all_or_none(3)]
    CHECKPOINT_ACTIVATIONS: Names
    TEXT_ENCODER: TextEncoder
    SWIN: Swin
    TIMM: Timm
    BACKBONE: Backbone
    ALIGNMENT: Alignment
    POSITION: Position
    NECK: Neck
    DECODER: Decoder
    PRESENCE: Presence
    LOSS: Loss


class Datasets(Section):
    TRAIN: Names
    VAL: Names
    TEST: Names


class DataLoader(Section):
    NUM_WORKERS: Annotated[int, Field(ge=0)]


class Solver(Section):
    BASE_LR: Positive
    TEXT_ENCODER_LR_FACTOR: NotNegative
    BACKBONE_LR_FACTOR: NotNegative
    WEIGHT_DECAY: NotNegative
    WEIGHT_DECAY_NORM: NotNegative
    WEIGHT_DECAY_BIAS: NotNegative
    POLY_POWER: NotNegative
    WARMUP_ITERS: Annotated[int, Field(ge=0)]
    WARMUP_FACTOR: NotNegative


class Test(Section):
    BATCH_SIZE: Count
    EVAL_PERIOD: Period
    EVAL_RESOLUTION: Literal["input", "native"]
    EMPTY_IOU: Annotated[float, Field(ge=0, le=1)]
    EXPECTED_RESULTS: list[tuple[str, str, float, NotNegative]]


class Config(Section):
    OUTPUT_DIR: Annotated[str, Field(min_length=1)]
    INPUT: Input
    MODEL: Model
    DATASETS: Datasets
    DATALOADER: DataLoader
    SOLVER: Solver
    TEST: Test


def refuse_impossible_values(cfg: CfgNode) -> None:
    """Raise ValueError for a value outside its key's range, naming key and value."""
    try:
        Config.model_validate(cfg)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key} is {first['input']!r}: {first['msg']}") from error
    text, swin = cfg.MODEL.TEXT_ENCODER, cfg.MODEL.SWIN
    _refuse_uneven("MODEL.TEXT_ENCODER", text.HIDDEN_SIZE, text.NUM_HEADS)
    for stage, heads in enumerate(swin.NUM_HEADS):
        _refuse_uneven(f"MODEL.SWIN, stage {stage + 1}", swin.EMBED_DIM * 2**stage, heads)


def _refuse_uneven(part: str, width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"{part}: {width} channels are not divisible by {heads} heads")
