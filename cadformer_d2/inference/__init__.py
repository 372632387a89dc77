"""Inference with a trained model, on images and on rasters of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .mask_predictor import Instance, MaskPredictor, ReferredMask

if TYPE_CHECKING:
    from .onnx_predictor import OnnxPredictor
    from .predictor import RefSegPredictor

__all__ = ["Instance", "MaskPredictor", "OnnxPredictor", "RefSegPredictor", "ReferredMask"]


def __getattr__(name: str) -> Any:
    """Import a predictor when it is asked for: one needs PyTorch, the other onnxruntime."""
    if name == "RefSegPredictor":
        from .predictor import RefSegPredictor

        return RefSegPredictor
    if name == "OnnxPredictor":
        from .onnx_predictor import OnnxPredictor

        return OnnxPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
