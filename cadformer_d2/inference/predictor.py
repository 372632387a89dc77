"""Predicts the mask of an expression in an image."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from ..checkpoint import RefSegCheckpointer, read_trained_config, text_encoder_package
from ..data.class_names import OBJECT_NAMES
from ..data.network_input import NetworkInput
from ..precision import (
    autocast,
    cast_product_weights,
    refuse_unusable_format,
    resolve_device,
)
from ..pretrained_folder import refuse_existing_folder, write_pretrained
from ..unset_model import build_unset_model
from .mask_predictor import MaskPredictor
from .ready_model import find_ready_model

logger = logging.getLogger(__name__)


class RefSegPredictor(MaskPredictor):
    """A trained model behind the preprocessing it was evaluated with.

    predictor = RefSegPredictor.from_pretrained()  # the model that comes with the project
    predictor = RefSegPredictor.from_checkpoint("model_best.pth")  # one of your own
    result = predictor("scene.jpg", "the pool on the left")

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
        self.network_input = NetworkInput(cfg)
        super().__init__(
            input_size=self.network_input.size,
            image_format=cfg.INPUT.FORMAT,
            tokenizer=self.network_input.tokenizer,
            batch_size=batch_size,
        )
        self.cfg = cfg
        self.text_package = text_package
        self.model: Any = model.eval()
        self.dtype = cfg.TEST.DTYPE

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

    def resize(self, pixels: np.ndarray) -> Tensor:
        return self.network_input.prepare_image(pixels)

    def read_expression(self, expression: str) -> dict[str, Any]:
        return self.network_input.prepare_expression(expression)

    @torch.no_grad()
    def predict_batch(self, batch: list[dict[str, Any]]) -> list[tuple[np.ndarray, float | None]]:
        with autocast(self.model.device, self.dtype):
            outputs = self.model(batch)
        return [
            (
                output["sem_seg"].cpu().numpy(),
                float(output["presence"]) if "presence" in output else None,
            )
            for output in outputs
        ]

    @property
    def says_presence(self) -> bool:
        return bool(self.cfg.MODEL.PRESENCE.NAME)

    @property
    def object_names(self) -> tuple[str, ...]:
        return (*OBJECT_NAMES, *self.cfg.INPUT.OBJECT_NAMES)


def _text_prefix(text_encoder: Any) -> str:
    """Prefix of a published text encoder's tensors in a model's state."""
    name = getattr(text_encoder, "network_name", "")
    return f"text_encoder.{name}." if name else "text_encoder."


def _leave_uncompiled(module: nn.Module) -> None:
    """Undo ``module.compile()``."""
    module._compiled_call_impl = None
