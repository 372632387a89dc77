"""Inference with a trained model, on images and on rasters of any size."""

from .predictor import Instance, ReferredMask, RefSegPredictor

__all__ = ["Instance", "RefSegPredictor", "ReferredMask"]
