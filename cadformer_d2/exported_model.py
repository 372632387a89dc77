"""What an exported file says about itself, so that it suffices alone. Needs no PyTorch."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

METADATA_KEY = "cadformer_d2"  # of an ONNX file's metadata
EXTRA_FILE = "cadformer_d2.json"  # inside a .pt2 archive
ONNX_ENDING, PROGRAM_ENDING = ".onnx", ".pt2"
LARGEST_SIDE = 2**15  # pixels

ExpressionField = Literal["input_ids", "attention_mask", "is_object", "is_position"]
Precision = Literal["float32", "half", "int8"]
ChannelOrder = Literal["RGB", "BGR"]
CHANNEL_ORDERS: tuple[ChannelOrder, ...] = ("RGB", "BGR")
Side = Annotated[int, Field(gt=0, le=LARGEST_SIDE)]


class ExportedModel(BaseModel):
    """The description that an exported file carries.

    The graph maps ``image`` (B, 3, H, W) float32 in [0, ``pixel_range``] and the fields of the
    expressions (B, T), padded with 0, to ``probabilities`` (B, 2, H, W) of ``class_names`` and,
    where ``says_presence``, to ``presence`` (B,), the probability that there is a target at all.
    Below the model's threshold every pixel is background.
    """

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = 1
    written_by: str
    input_size: tuple[Side, Side]  # (H, W)
    channel_order: ChannelOrder
    pixel_range: Literal[1, 255] = 255
    reads: list[ExpressionField]  # fields of an expression, in the graph's order; none: it is fixed
    max_tokens: Annotated[int, Field(gt=0)]  # special tokens included
    tokenizer: str  # content of a tokenizer.json
    object_names: list[str] = []  # that is_object and is_position are found by
    role_special_tokens: bool = False  # whether special tokens belong to both roles
    class_names: tuple[str, str] = ("background", "target")
    says_presence: bool = False
    precision: Precision = "float32"
    licence: str = "other"  # as Hugging Face names licences
    checkpoint: str  # hash of the weights, as the checkpoint's polygons carry it
    expression: str = ""  # that the graph answers, if ``reads`` is empty


def as_channel_order(name: str) -> ChannelOrder:
    """
    Raises:
        ValueError: another order.
    """
    for known in CHANNEL_ORDERS:
        if name == known:
            return known
    raise ValueError(f"INPUT.FORMAT is {name!r}; a file takes RGB or BGR")


def parse_description(text: str | None, path: str | os.PathLike) -> ExportedModel:
    """
    Args:
        text: that the file carries; None: it carries none.
        path: for messages.

    Raises:
        ValueError: it describes no model of this project.
    """
    if text is None:
        raise ValueError(f"{path} carries no {METADATA_KEY}: 'cadformer export' did not write it")
    try:
        return ExportedModel.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(
            f"{path} describes no model of this project: {place}: {first['msg']}"
        ) from error
