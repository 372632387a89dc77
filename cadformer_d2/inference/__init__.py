"""Inference with a trained model, on images and on rasters of any size."""

from .predictor import ReferredMask, RefSegPredictor

__all__ = ["RefSegPredictor", "ReferredMask"]
