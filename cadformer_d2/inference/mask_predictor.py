"""From an image and expressions to masks, whatever computes them. Needs no PyTorch."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, overload

import cv2
import numpy as np
from PIL import Image

from ..data.image_file import CHANNELS, decode_image, read_image
from ..data.plain_tokenizer import PlainTokenizer
from ..data.validation import quote

logger = logging.getLogger(__name__)

ImageLike = np.ndarray | Image.Image | str | os.PathLike


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


class MaskPredictor(ABC):
    """Reads images and expressions, and answers them in batches; a subclass computes.

    Several expressions about one image run as a batch; the image is read and resized once.
    """

    def __init__(
        self,
        *,
        input_size: tuple[int, int],
        image_format: str,
        tokenizer: PlainTokenizer,
        batch_size: int,
    ):
        """
        Args:
            input_size: (height, width) of the network's input, pixels.
            image_format: the network's channel order, "RGB" or "BGR".
            tokenizer: of the expressions.
            batch_size: expressions in one forward pass.

        Raises:
            ValueError: ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.input_size = input_size
        self.image_format = image_format
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.reported: set[int] = set()  # hashes of expressions that were warned of

    @abstractmethod
    def resize(self, pixels: np.ndarray) -> Any:
        """Pixels (height, width, 3) uint8 in the network's order as its input (3, H, W)."""

    @abstractmethod
    def read_expression(self, expression: str) -> dict[str, Any]:
        """An expression's fields of a sample.

        Raises:
            ValueError: it is empty or not a text.
        """

    @abstractmethod
    def predict_batch(
        self, batch: list[dict[str, Any]]
    ) -> Iterable[tuple[np.ndarray, float | None]]:
        """Predict samples of ``prepare_image`` and ``prepare_expression``.

        Returns:
            for each, probabilities (2, height, width) of background and target at the image's own
            size, and the probability of presence; None of a model that does not say.
        """

    @property
    @abstractmethod
    def says_presence(self) -> bool:
        """Whether the model says that an image has no target."""

    @property
    @abstractmethod
    def object_names(self) -> tuple[str, ...]:
        """Names of categories that expressions are known to use."""

    def compile(self) -> bool:
        """Make the network faster where that is possible; it takes minutes.

        Returns:
            whether it is compiled now.

        Raises:
            ValueError: there is nothing to compile.
        """
        raise ValueError("an exported file is compiled already; remove --compile")

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
        results = self._predict({**fields, **self.prepare_expression(text)} for text in texts)
        return results[0] if isinstance(expressions, str) else results

    def predict_images(
        self, images: Iterable[ImageLike], expression: str, *, channel_order: str = "RGB"
    ) -> list[ReferredMask]:
        """Query several images, which may have different sizes, with one expression.

        The images are read one batch at a time.
        """
        fields = self.prepare_expression(expression)
        return self._predict(
            {**self.prepare_image(image, channel_order), **fields} for image in images
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
            self._predict({**fields, **self.prepare_expression(expression)} for fields in prepared)
            for expression in expressions
        ]

    def answer_batch(self, batch: list[dict[str, Any]]) -> Iterator[ReferredMask]:
        """Predict samples of ``prepare_image`` and ``prepare_expression`` in one forward pass."""
        for sample, (probabilities, presence) in zip(batch, self.predict_batch(batch), strict=True):
            background, target = probabilities
            yield ReferredMask(sample["expression"], target, target > background, presence)

    def _predict(self, samples: Iterable[dict[str, Any]]) -> list[ReferredMask]:
        """As ``answer_batch``, in batches."""
        results: list[ReferredMask] = []
        waiting = iter(samples)
        while batch := list(islice(waiting, self.batch_size)):
            results += self.answer_batch(batch)
        return results

    def prepare_image(self, image: ImageLike, channel_order: str = "RGB") -> dict[str, Any]:
        """The image's fields of a ModelInput, for a prediction at the image's own size."""
        pixels = self.read_image(image, channel_order)
        height, width = pixels.shape[:2]
        return {"image": self.resize(pixels), "height": height, "width": width}

    def prepare_expression(self, expression: str) -> dict[str, Any]:
        """The expression's fields of a ModelInput.

        Warns once if the expression is truncated or has no word in the vocabulary.
        """
        fields = self.read_expression(expression)
        tokenizer = self.tokenizer
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
        if channel_order not in CHANNELS:
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
