"""Predicts with an exported file and onnxruntime; neither PyTorch nor Detectron2 is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tokenizers import Tokenizer

from ..data.expression_roles import ExpressionRoleParser
from ..data.plain_tokenizer import PlainTokenizer
from ..data.validation import quote
from ..exported_model import METADATA_KEY, parse_description
from ..library_errors import first_line
from ..resampling import resize_pixels
from .mask_predictor import MaskPredictor

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxPredictor(MaskPredictor):
    """An exported file behind the preprocessing that its model was trained with.

        predictor = OnnxPredictor("model.onnx")
        result = predictor("scene.jpg", "the pool on the left")

    It is called as RefSegPredictor and returns the same.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        device: str | None = None,
        batch_size: int = 8,
        num_threads: int = 0,
    ):
        """
        Args:
            path: that ``cadformer export`` wrote.
            device: "cpu" or "cuda", which needs the package onnxruntime-gpu; None: a GPU where
                onnxruntime can use one.
            batch_size: expressions in one forward pass.
            num_threads: of one forward pass; 0: one a core.

        Raises:
            FileNotFoundError: no such file.
            ImportError: the extra ``onnx`` is not installed.
            ValueError: not a file of this project, damaged, or an unusable device.
        """
        self.path = Path(path)
        self.session = open_session(self.path, device, num_threads)
        carried = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.description = parse_description(carried, path)
        self.fixed_expression = self.description.expression
        tokenizer = PlainTokenizer(
            backend=_parse_tokenizer(self.description.tokenizer, self.path),
            max_tokens=self.description.max_tokens,
        )
        super().__init__(
            input_size=self.description.input_size,
            image_format=self.description.channel_order,
            tokenizer=tokenizer,
            batch_size=batch_size,
        )
        self.role_parser = ExpressionRoleParser(
            tokenizer=tokenizer,
            names=self.description.object_names,
            adds_special_tokens=self.description.role_special_tokens,
        )

    def resize(self, pixels: np.ndarray) -> np.ndarray:
        resized = resize_pixels(pixels, self.input_size).transpose(2, 0, 1).astype(np.float32)
        return resized * np.float32(self.description.pixel_range / 255)

    def read_expression(self, expression: str) -> dict[str, Any]:
        if self.fixed_expression and expression != self.fixed_expression:
            raise ValueError(
                f"{self.path} answers {quote(self.fixed_expression)} only; export it without "
                "--expression to ask anything else"
            )
        ids = np.array(self.tokenizer.token_ids(expression))
        is_object, is_position = self.role_parser.mark_roles(expression)
        return {
            "expression": expression,
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "is_object": is_object,
            "is_position": is_position,
        }

    @property
    def says_presence(self) -> bool:
        return self.description.says_presence

    @property
    def object_names(self) -> tuple[str, ...]:
        return tuple(self.description.object_names)

    def predict_batch(
        self, batch: list[dict[str, Any]]
    ) -> Iterable[tuple[np.ndarray, float | None]]:
        feed: dict[str, np.ndarray] = {"image": np.stack([sample["image"] for sample in batch])}
        for name in self.description.reads:
            feed[name] = _pad([sample[name] for sample in batch])
        found, *others = self.session.run(None, feed)
        presence: Iterable[float | None] = (
            map(float, others[0]) if self.says_presence else repeat(None, len(batch))
        )
        for sample, probabilities, value in zip(batch, found, presence, strict=True):
            yield resize_probabilities(probabilities, (sample["height"], sample["width"])), value


def resize_probabilities(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample (2, H, W) float32 bilinearly between centres, as ``sem_seg_postprocess``."""
    if probabilities.shape[1:] == size:
        return probabilities
    height, width = size
    resized = [
        cv2.resize(map_, (width, height), interpolation=cv2.INTER_LINEAR) for map_ in probabilities
    ]
    return np.stack(resized)


def open_session(path: Path, device: str | None, num_threads: int) -> Any:
    """An onnxruntime session of a file.

    Args: as OnnxPredictor.

    Raises: as OnnxPredictor.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; exported files need the extra onnx: "
            "pip install 'cadformer_d2[onnx]'"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'cadformer export' writes such files")
    usable = onnxruntime.get_available_providers()
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"device is {device!r}; onnxruntime is given cpu or cuda")
    if device == "cuda" and CUDA not in usable:
        raise ValueError("this onnxruntime has no CUDA; pip install onnxruntime-gpu instead of it")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors
    providers = [
        name for name in (CUDA, CPU) if name in usable and (name == CPU or device != "cpu")
    ]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the library's own classes derive from nothing more special
        raise ValueError(f"{path} is not a usable ONNX file ({first_line(error)})") from error


def _parse_tokenizer(text: str, path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{path}: its tokenizer cannot be read ({quote(str(error))})") from error


def _pad(rows: list[np.ndarray]) -> np.ndarray:
    """Rows (T_b,) as (B, T), padded with 0 to the longest."""
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
