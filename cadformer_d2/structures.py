"""The contracts that cross packages: what a record, a model input and encoded text look like.

Letters used in shapes all over the package: B batch, T tokens, C channels, (H, W) network input,
(h_i, w_i) = (H, W) / 2^(i+1) the map of stage i, N_i = h_i * w_i positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict  # pydantic needs this one in Python 3.11

if TYPE_CHECKING:  # masks are read and drawn without PyTorch, too
    from torch import Tensor


class RunLengthMask(TypedDict):
    """A binary mask in COCO's run-length encoding, as pycocotools reads it."""

    size: list[int]  # [height, width]
    counts: bytes | str | list[int]


def mask_to_json(mask: RunLengthMask) -> dict[str, Any]:
    """Convert a mask for JSON: its counts as a string, not as bytes."""
    counts = mask["counts"]
    return {
        "size": list(mask["size"]),
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


class Annotation(TypedDict):
    """One target in Detectron2's COCO style. The box is recomputed from the mask."""

    segmentation: RunLengthMask
    bbox: list[float]  # x1, y1, x2, y2 in image pixels
    bbox_mode: int  # detectron2.structures.BoxMode.XYXY_ABS
    category_id: int  # contiguous, from 0: an index into the metadata's thing_classes
    iscrowd: int


class ReferRecord(TypedDict):
    """A dataset dict: the targets of some expressions, usually one.

    A dataset may claim that expressions have any number of targets; the mask is then the union of
    the annotations, and an expression without annotations asks for what the image does not show.

    Training has one record per ref (the mapper draws one of its expressions), evaluation one
    record per (ref, expression), so that each is evaluated once.
    """

    file_name: str
    height: int  # of the image file, pixels
    width: int
    image_id: int
    ref_id: int
    sent_id: int | None  # id of the expression, in evaluation; None in training
    sent_ids: list[int]  # one per expression
    expressions: list[str]
    # Where the expressions are written by the grammar: category, relation, size or position for one
    # target; several; absent (nothing of the category is in the image) or absent_hard (only the
    # place or relation is false).
    sentence_kinds: NotRequired[list[str]]
    # Of what the expressions ask for, contiguous, from 0. -1 only where the file names no category
    # for an expression without targets, as gRefCOCO's do.
    category_id: int
    annotations: list[Annotation]  # the targets; exactly one unless the dataset says otherwise


class ModelInput(TypedDict):
    """What the mapper hands to the model, one per sample."""

    image: Tensor  # (3, H, W) float32 in [0, 255], channel order of INPUT.FORMAT
    input_ids: Tensor  # (T,) int64, tokens with the special ones, not padded
    attention_mask: Tensor  # (T,) int64, all ones: padding is made per batch
    is_object: NotRequired[Tensor]  # (T,) bool, True on words for the object
    is_position: NotRequired[Tensor]  # (T,) bool, True on words for the place
    expression: str
    height: int  # resolution at which the prediction is scored and returned, pixels
    width: int
    file_name: str
    image_id: int
    ref_id: int
    sent_id: int
    category_id: int  # as in the record
    sentence_kind: NotRequired[str]
    # Of the expression, at least 0; not in prediction. A mask may be empty although it is not 0,
    # where a small target vanishes at the network's resolution.
    num_targets: NotRequired[int]
    gt_mask: NotRequired[Tensor]  # training: (H, W) bool, the targets' union at network resolution
    gt_rle: NotRequired[RunLengthMask]  # evaluation: the targets' union at (height, width)


@dataclass(frozen=True)
class TextFeatures:
    """An encoded expression.

    Raises:
        ValueError: the shapes of the two tensors do not match.
    """

    tokens: Tensor  # (B, T, C) float
    # (B, T) bool: True on a real token, special ones ([CLS]) included; False on padding.
    is_token: Tensor
    # The same expression encoded with the words for the object alone, and with those for the place
    # alone, if the alignment reads them (FIANet). An expression may have no such word.
    object_words: TextFeatures | None = None
    position_words: TextFeatures | None = None

    def __post_init__(self) -> None:
        if self.tokens.dim() != 3 or self.is_token.shape != self.tokens.shape[:2]:
            raise ValueError(
                "TextFeatures needs tokens (B, T, C) and is_token (B, T), got "
                f"{tuple(self.tokens.shape)} and {tuple(self.is_token.shape)}"
            )

    @property
    def dim(self) -> int:
        return self.tokens.shape[2]

    def select(self, index: Tensor) -> TextFeatures:
        """Expression ``index[i]`` at position i, roles included.

        Args:
            index: (n,) int64 in [0, B).
        """
        object_words, position_words = (
            None if words is None else words.select(index)
            for words in (self.object_words, self.position_words)
        )
        return TextFeatures(self.tokens[index], self.is_token[index], object_words, position_words)


@dataclass(frozen=True)
class StageInput:
    """What a backbone stage hands to its alignment (equations 1-12 of the paper)."""

    visual: Tensor  # V_i (B, N_i, C_i), the output of the stage's blocks
    text: TextFeatures  # L_i
    map_size: tuple[int, int]  # (h_i, w_i), N_i = h_i * w_i
    # X_{i-1} (B, N_i, C_i), the input of the stage's blocks; None in backbones whose stages change
    # the map's size (AlignmentSpec.offers_entry).
    entry: Tensor | None = None


@dataclass(frozen=True)
class StageOutput:
    """What an alignment returns for one backbone stage (equations 1-12 of the paper)."""

    fused: Tensor  # (B, N_i, C_i), what the decoder reads of this stage: F_i or gate(F_i) * F_i
    visual_update: Tensor | None  # added to V_i before patch merging; not used at the last stage
    text: TextFeatures  # L_{i+1}, for the next stage
