"""Predicts the mask of an expression in an image."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import nn

from ..checkpoint import RefSegCheckpointer, read_trained_config, text_encoder_package
from ..data.image_file import decode_image, read_image
from ..data.network_input import NetworkInput
from ..data.validation import quote
from ..precision import (
    autocast,
    cast_product_weights,
    refuse_unusable_format,
    resolve_device,
)
from ..pretrained_folder import refuse_existing_folder, write_pretrained
from ..structures import ModelInput
from ..unset_model import build_unset_model
from .ready_model import find_ready_model

logger = logging.getLogger(__name__)

ImageLike = np.ndarray | Image.Image | str | os.PathLike
CHANNEL_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True)
class Instance:
    """A connected component of a mask; pixels that touch only at a corner are not connected."""

    box_xyxy: tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom out
    mask: np.ndarray  # (bottom - top, right - left) bool
    area: int  # pixels
    score: float  # mean probability inside, in [0, 1]


@dataclass(frozen=True)
class ReferredMask:
    """The predicted mask of an expression in an image."""

    expression: str
    probability: np.ndarray  # (height, width) float32 in [0, 1], at the image's own size
    mask: np.ndarray  # (height, width) bool: where the target is likelier than the background
    # Probability, in [0, 1], that the image has a target at all; None of a model that does not say.
    # Below the model's MODEL.PRESENCE.THRESHOLD, ``probability`` is 0 everywhere.
    presence: float | None = None

    @property
    def is_present(self) -> bool:
        """Whether the image has a target: the mask is not empty."""
        return bool(self.mask.any())

    @property
    def instances(self) -> list[Instance]:
        """The mask's connected components, the largest first."""
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            self.mask.astype(np.uint8), connectivity=4
        )
        instances = []
        for label, (left, top, width, height, area) in enumerate(stats.tolist()):
            if not label:  # the background
                continue
            box = slice(top, top + height), slice(left, left + width)
            mask = labels[box] == label
            score = float(self.probability[box][mask].mean())
            corners = (left, top, left + width, top + height)
            instances.append(Instance(corners, mask, int(area), score))
        return sorted(instances, key=lambda instance: -instance.area)

    @property
    def score(self) -> float:
        """Mean probability inside the mask, in [0, 1]; 0 where the mask is empty."""
        return float(self.probability[self.mask].mean()) if self.mask.any() else 0.0

    def polygons(self) -> list[dict[str, Any]]:
        """The mask's outlines in pixel coordinates, x right and y down, as GeoJSON polygons.

        Raises:
            ImportError: the extra ``geo`` is not installed.
        """
        from .connected_components import trace_polygons

        return trace_polygons(self.mask)


class RefSegPredictor:
    """A trained model behind the preprocessing it was evaluated with.

        predictor = RefSegPredictor.from_pretrained()  # the model that comes with the project
        predictor = RefSegPredictor.from_checkpoint("model_best.pth")  # one of your own
        result = predictor("scene.jpg", "the pool on the left")

    Several expressions about one image run as a batch; the image is read and resized once.
    """

    def __init__(
        self, *, cfg: CfgNode, model: nn.Module, batch_size: int = 8, text_package: str = ""
    ):
        """
        Args:
            cfg: with the INPUT section the model was trained with; it computes in TEST.DTYPE.
            model: a CADFormer; it is put into evaluation mode.
            batch_size: expressions in one forward pass.
            text_package: "package:NAME/folder" that the text encoder was first loaded from; "":
                none. Where it still has those weights, ``save_pretrained`` does not store them.

        Raises:
            ValueError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.cfg = cfg
        self.text_package = text_package
        self.network_input = NetworkInput(cfg)
        self.image_format = cfg.INPUT.FORMAT
        self.model: Any = model.eval()
        self.dtype = cfg.TEST.DTYPE
        self.batch_size = batch_size
        self.reported: set[int] = set()  # hashes of expressions that were warned of

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        *,
        device: str | None = None,
        batch_size: int = 8,
        dtype: str = "float32",
    ) -> RefSegPredictor:
        """Build the network that a checkpoint describes and load its weights.

        Args:
            path: a checkpoint of this project, which carries its config, or what
                ``from_pretrained`` takes.
            device: "cuda", "cpu", ...; None: a GPU where there is one.
            batch_size: expressions in one forward pass.
            dtype: of matrix products: "float32", "bfloat16" or, on a GPU, "float16".

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a checkpoint of this project, or an unusable device or dtype.
        """
        cfg = read_trained_config(path)
        cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
        cfg.TEST.DTYPE = dtype
        refuse_unusable_format(resolve_device(cfg.MODEL.DEVICE), dtype)
        return cls.from_config(cfg, batch_size=batch_size)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, batch_size: int = 8) -> RefSegPredictor:
        """Build the network of a config and load its MODEL.WEIGHTS, as ``from_checkpoint``.

        Raises: as from_checkpoint.
        """
        model = build_unset_model(cfg)
        RefSegCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        cast_product_weights(model, cfg.TEST.DTYPE)
        package = text_encoder_package(cfg.MODEL.WEIGHTS)
        return cls(cfg=cfg, model=model, batch_size=batch_size, text_package=package)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike = "", **options: Any) -> RefSegPredictor:
        """A model in Hugging Face's layout, as ``save_pretrained`` writes it.

        Args:
            name: a folder, or a Hugging Face name in the local cache: ``hf download NAME`` fetches
                it once, nothing is downloaded here. "": the model that comes with the project.
            options: of ``from_checkpoint``.

        Raises:
            FileNotFoundError: it is not on this machine, or a package that it needs is not.
            ValueError: damaged, incomplete, or of something else.
        """
        return cls.from_checkpoint(name or find_ready_model(), **options)

    def save_pretrained(self, folder: str | os.PathLike, *, card: str = "") -> None:
        """Write the model as a folder in Hugging Face's layout, in half precision.

        Args:
            folder: must not exist, or be empty.
            card: content of its README.md; "": what the config says, with gaps to fill in.

        Raises:
            FileExistsError: something lies there.
            ValueError: weights that are not finite, or already rounded to another format.
            OSError: a file could not be written.
        """
        from .model_card import model_card  # which no answer needs

        folder = Path(folder)
        refuse_existing_folder(folder)
        if self.dtype != "float32":
            raise ValueError(f"the model is held in {self.dtype}; load it in float32 to save it")
        cfg = self.portable_config()
        write_pretrained(
            folder,
            config=cfg,
            state=self.model.state_dict(),
            parameters=frozenset(name for name, _ in self.model.named_parameters()),
            tokenizer=self.network_input.tokenizer.to_json(),
            card=card or model_card(cfg, self.model, name=folder.name),
            text_package=self.text_package,
            text_prefix=_text_prefix(self.model.text_encoder),
        )

    def portable_config(self) -> CfgNode:
        """The config, with what the network has from files that other machines lack."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.MODEL.PIXEL_MEAN = self.model.pixel_mean.flatten().tolist()
        cfg.MODEL.PIXEL_STD = self.model.pixel_std.flatten().tolist()
        cfg.MODEL.TEXT_ENCODER.WEIGHTS = self.text_package
        for key, value in getattr(self.model.text_encoder, "carried_values", {}).items():
            cfg.merge_from_list([key, value])
        return cfg

    def compile(self) -> bool:
        """Compile the network's repeated parts for the input's size and batches of one.

        It takes minutes on a CPU and needs a C++ compiler there. Other batch sizes, and expressions
        of more than 32 tokens, compile again when they first occur. If compilation fails, the
        predictor logs a warning and continues without it.

        Returns:
            whether the network is compiled now.
        """
        start = time.perf_counter()
        self.model.compile()
        try:
            self(np.zeros((*self.input_size, 3), np.uint8), "compiling")
        except RuntimeError as error:  # what torch.compile's errors derive from
            self.model.apply(_leave_uncompiled)
            self.model.is_compiled = False
            reason = " ".join(str(error).split("\n")[:2])  # the second line names the cause
            logger.warning("torch.compile failed, going on without it: %s", reason)
            return False
        logger.info("compiled in %.0f s", time.perf_counter() - start)
        return True

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input, pixels."""
        return self.network_input.size

    @overload  # of a str, which is a Sequence[str] as well
    def __call__(  # type: ignore[overload-overlap]
        self, image: ImageLike, expressions: str, *, channel_order: str = "RGB"
    ) -> ReferredMask: ...

    @overload
    def __call__(
        self, image: ImageLike, expressions: Sequence[str], *, channel_order: str = "RGB"
    ) -> list[ReferredMask]: ...

    def __call__(
        self, image: ImageLike, expressions: str | Sequence[str], *, channel_order: str = "RGB"
    ) -> ReferredMask | list[ReferredMask]:
        """
        Args:
            image: (height, width, 3) uint8, a Pillow image, or the path of an image file. The last
                two are turned as their EXIF data say, as in training, and so are their masks.
            expressions: one expression, or several about the same image.
            channel_order: of an array, "RGB" or "BGR" (as OpenCV reads).

        Returns:
            one result for one expression, a list for several.

        Raises:
            ValueError: an expression is empty or not a text, or the image is unusable; the message
                says which.
            FileNotFoundError: no such file.
        """
        texts = [expressions] if isinstance(expressions, str) else expressions
        fields = self.prepare_image(image, channel_order)
        results = self._predict(
            cast(ModelInput, {**fields, **self.prepare_expression(text)}) for text in texts
        )
        return results[0] if isinstance(expressions, str) else results

    def predict_images(
        self, images: Iterable[ImageLike], expression: str, *, channel_order: str = "RGB"
    ) -> list[ReferredMask]:
        """Query several images, which may have different sizes, with one expression.

        The images are read one batch at a time.
        """
        fields = self.prepare_expression(expression)
        return self._predict(
            cast(ModelInput, {**self.prepare_image(image, channel_order), **fields})
            for image in images
        )

    def predict_each(
        self, images: Iterable[ImageLike], expressions: Iterable[str]
    ) -> list[list[ReferredMask]]:
        """Query several images with each of several expressions; an image is prepared once.

        Args:
            images: in RGB, where they are arrays.

        Returns:
            for each expression, a result for each image, as ``predict_images`` gives it.
        """
        prepared = [self.prepare_image(image) for image in images]
        return [
            self._predict(
                cast(ModelInput, {**fields, **self.prepare_expression(expression)})
                for fields in prepared
            )
            for expression in expressions
        ]

    @torch.no_grad()
    def _predict(self, samples: Iterable[ModelInput]) -> list[ReferredMask]:
        """Predict samples of ``prepare_image`` and ``prepare_expression`` in batches."""
        results = []
        waiting = iter(samples)
        while batch := list(islice(waiting, self.batch_size)):
            with autocast(self.model.device, self.dtype):
                outputs = self.model(batch)
            for sample, output in zip(batch, outputs, strict=True):
                background, target = output["sem_seg"].cpu().numpy()
                presence = float(output["presence"]) if "presence" in output else None
                results.append(
                    ReferredMask(sample["expression"], target, target > background, presence)
                )
        return results

    def prepare_image(self, image: ImageLike, channel_order: str = "RGB") -> dict[str, Any]:
        """The image's fields of a ModelInput, for a prediction at the image's own size."""
        pixels = self.read_image(image, channel_order)
        height, width = pixels.shape[:2]
        return {"image": self.network_input.prepare_image(pixels), "height": height, "width": width}

    def prepare_expression(self, expression: str) -> dict[str, Any]:
        """The expression's fields of a ModelInput.

        Warns once if the expression is truncated or has no word in the vocabulary.
        """
        fields = self.network_input.prepare_expression(expression)
        tokenizer = self.network_input.tokenizer
        if hash(expression) in self.reported:
            return fields
        if tokenizer.is_truncated(expression):
            self.reported.add(hash(expression))
            logger.warning(
                "only the first %d word pieces of %s are read, as in training (INPUT.MAX_TOKENS)",
                tokenizer.max_word_pieces,
                quote(expression),
            )
        if tokenizer.is_unknown(expression):
            self.reported.add(hash(expression))
            logger.warning(
                "the network's vocabulary has no word of %s: it sees [UNK] only",
                quote(expression),
            )
        return fields

    def read_image(self, image: ImageLike, channel_order: str) -> np.ndarray:
        """Read an image as (height, width, 3) uint8 in the network's channel order."""
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel_order is {channel_order!r}; known: RGB, BGR")
        if isinstance(image, str | os.PathLike):
            return read_image(image, self.image_format)
        if isinstance(image, Image.Image):
            return decode_image(image, self.image_format)
        if not isinstance(image, np.ndarray):
            raise ValueError(f"the image is a {type(image).__name__}; expected a path or pixels")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"the image is {image.dtype} of shape {image.shape}; expected uint8 (height, "
                "width, 3)"
            )
        return image if channel_order == self.image_format else image[..., ::-1]


def _text_prefix(text_encoder: Any) -> str:
    """Prefix of a published text encoder's tensors in a model's state."""
    name = getattr(text_encoder, "network_name", "")
    return f"text_encoder.{name}." if name else "text_encoder."


def _leave_uncompiled(module: nn.Module) -> None:
    """Undo ``module.compile()``."""
    module._compiled_call_impl = None
