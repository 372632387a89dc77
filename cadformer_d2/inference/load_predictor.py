"""A predictor for whatever holds a model: a checkpoint, a folder or an exported file."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from ..exported_model import ONNX_ENDING, PROGRAM_ENDING
from .mask_predictor import MaskPredictor
from .ready_model import find_ready_model

HASH_DIGITS = 16  # as ``weights_hash``
DTYPE_NAMES = ("float32", "bfloat16", "float16")  # of precision.DTYPES, which needs PyTorch


def is_exported(reference: str | os.PathLike) -> bool:
    """Whether a reference to a model names a file for onnxruntime.

    Raises:
        ValueError: it names a program of torch.export.
    """
    ending = Path(reference).suffix
    if ending == PROGRAM_ENDING:  # PyTorch unpickles it, and a pickle may run code
        raise ValueError(
            f"{reference} is for torch.export.load in a program of yours (docs/deployment.md); "
            f"here an {ONNX_ENDING} file or the checkpoint answers"
        )
    return ending == ONNX_ENDING


def load_predictor(
    reference: str | os.PathLike = "",
    *,
    device: str | None = None,
    batch_size: int = 8,
    dtype: str = "float32",
    num_threads: int = 0,
) -> MaskPredictor:
    """
    Args:
        reference: a .onnx file that ``cadformer export`` wrote, or what
            ``RefSegPredictor.from_pretrained`` takes; "": the model that comes with the project.
        device, batch_size, dtype: of ``RefSegPredictor.from_checkpoint``; an exported file has its
            own precision.
        num_threads: of a forward pass on a CPU; 0: PyTorch's or onnxruntime's own choice.

    Raises:
        FileNotFoundError: there is no such model here.
        ValueError: damaged, of something else, or unusable options.
        ImportError: PyTorch and Detectron2, or onnxruntime, are not installed.
    """
    if is_exported(reference):
        if dtype != "float32":
            raise ValueError(
                f"{reference} has its own precision; export it with --half or --int8 instead"
            )
        from .onnx_predictor import OnnxPredictor

        return OnnxPredictor(
            reference, device=device, batch_size=batch_size, num_threads=num_threads
        )
    refuse_without_detectron2(reference or find_ready_model())
    import torch

    from .predictor import RefSegPredictor

    if num_threads:
        torch.set_num_threads(num_threads)
    return RefSegPredictor.from_pretrained(
        reference, device=device, batch_size=batch_size, dtype=dtype
    )


def refuse_without_detectron2(reference: str | os.PathLike) -> None:
    """Raise ImportError where only exported files can be answered with."""
    if missing := [name for name in ("torch", "detectron2") if find_spec(name) is None]:
        raise ImportError(
            f"{reference} needs {' and '.join(missing)}, not installed here; make an {ONNX_ENDING} "
            "file of it with 'cadformer export' where they are"
        )


def model_files(reference: str | os.PathLike) -> list[Path]:
    """The files that a reference to a model stands for.

    Raises: as load_predictor.
    """
    if is_exported(reference):
        return [Path(reference)]
    refuse_without_detectron2(reference)
    from ..pretrained_folder import weights_files

    return weights_files(reference)


def model_hash(reference: str | os.PathLike) -> str:
    """Sixteen hexadecimal digits that tell a model from others.

    Raises: as load_predictor.
    """
    if is_exported(reference):
        with Path(reference).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_DIGITS]
    refuse_without_detectron2(reference)
    from ..pretrained_folder import weights_hash

    return weights_hash(reference)
