"""Scoring predictions as the papers do."""

from .refseg_evaluator import ReferringSegmentationEvaluator

__all__ = ["ReferringSegmentationEvaluator"]
