"""The metrics of referring segmentation, from pixel counts. All results are in percent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 1000
# Upper limits of the groups by the target's share of the image, and by words of the expression.
SIZE_GROUPS = (("under_1pct", 0.01), ("1_to_5pct", 0.05), ("over_5pct", np.inf))
LENGTH_GROUPS = (("1_to_5_words", 5), ("6_to_10_words", 10), ("11_to_20_words", 20),
                 ("over_20_words", np.inf))  # fmt: skip


@dataclass(frozen=True)
class SampleScore:
    """The record of one prediction: counts in pixels at the scoring resolution."""

    image_id: int
    ref_id: int
    sent_id: int
    intersection: int
    union: int
    target_area: int
    image_area: int
    num_words: int
    category_id: int
    kind: str | None  # kind of the expression, if the dataset has it

    def iou(self, empty_iou: float) -> float:
        """Intersection over union in [0, 1]; ``empty_iou`` where both masks are empty."""
        return self.intersection / self.union if self.union else empty_iou


@dataclass(frozen=True)
class ScoreArrays:
    """The numbers of SampleScores, one entry per sample, in pixels at the scoring resolution."""

    iou: np.ndarray  # in [0, 1]
    intersection: np.ndarray
    union: np.ndarray
    target_area: np.ndarray
    image_area: np.ndarray

    @classmethod
    def from_scores(cls, scores: Sequence[SampleScore], *, empty_iou: float) -> ScoreArrays:
        columns = {
            name: np.array([getattr(score, name) for score in scores], float)
            for name in ("intersection", "union", "target_area", "image_area")
        }
        return cls(iou=np.array([score.iou(empty_iou) for score in scores]), **columns)

    @property
    def ones(self) -> np.ndarray:
        return np.ones_like(self.iou)


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums over samples, in percent; with ``ones`` as denominator, a mean."""

    name: str
    # ScoreArrays -> (numerator, denominator), one entry per sample. If the denominators sum to 0
    # (only pairs of empty masks), the ratio is TEST.EMPTY_IOU.
    terms: Callable[[ScoreArrays], tuple[np.ndarray, np.ndarray]]
    in_tables: bool = True  # a column of the tables by group and of comparisons
    has_interval: bool = False  # <name>_low and <name>_high are reported


def _precision(threshold: float, **options: bool) -> Metric:
    """Pr@threshold, the share of samples with that IoU or more."""
    return Metric(f"Pr@{threshold}", lambda s: (s.iou >= threshold, s.ones), **options)


# The metrics in display order: evaluator, log, files and comparison tables follow this list.
METRICS: tuple[Metric, ...] = (
    Metric("mIoU", lambda s: (s.iou, s.ones), has_interval=True),
    Metric("oIoU", lambda s: (s.intersection, s.union), has_interval=True),
    _precision(0.5),
    _precision(0.6, in_tables=False),
    _precision(0.7),
    _precision(0.8, in_tables=False),
    _precision(0.9),
)


def metric_names() -> list[str]:
    return [metric.name for metric in METRICS]


def table_metric_names() -> list[str]:
    """Names of the metrics with a column in tables."""
    return [metric.name for metric in METRICS if metric.in_tables]


def interval_metric_names() -> list[str]:
    """Names of the metrics reported with an interval."""
    return [metric.name for metric in METRICS if metric.has_interval]


def summarize(scores: Iterable[SampleScore], *, empty_iou: float) -> dict[str, float]:
    """Compute all METRICS in percent.

    mIoU is the mean over samples, oIoU the sum of intersections over the sum of unions, Pr@x the
    share of samples with IoU >= x.

    Args:
        empty_iou: IoU of a sample whose mask and prediction are both empty.

    Raises:
        ValueError: ``scores`` is empty.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no sample to score")
    arrays = ScoreArrays.from_scores(scores, empty_iou=empty_iou)
    return {metric.name: _value(metric, arrays, empty_iou) for metric in METRICS}


def _value(metric: Metric, arrays: ScoreArrays, empty_iou: float) -> float:
    above, below = (float(term.sum()) for term in metric.terms(arrays))
    return 100 * (above / below) if below else 100 * empty_iou


def bootstrap_intervals(
    scores: list[SampleScore], *, empty_iou: float, seed: int = 0
) -> dict[str, float]:
    """95 % intervals of the metrics under another draw of test images.

    Resamples images, not samples: results on one image are correlated, and resampling its
    expressions independently would make the interval too narrow.

    Returns:
        {"mIoU_low", "mIoU_high", "oIoU_low", "oIoU_high"} in percent, and so on.
    """
    metrics = [metric for metric in METRICS if metric.has_interval]
    arrays = ScoreArrays.from_scores(scores, empty_iou=empty_iou)
    columns = [term for metric in metrics for term in metric.terms(arrays)]
    values = np.stack(columns, axis=1).astype(float)  # (samples, 2 * metrics)
    _, image_index = np.unique([score.image_id for score in scores], return_inverse=True)
    per_image = np.zeros((image_index.max() + 1, values.shape[1]))
    np.add.at(per_image, image_index, values)
    rng = np.random.default_rng(seed)
    totals = np.stack(
        [
            per_image[rng.integers(len(per_image), size=len(per_image))].sum(0)
            for _ in range(NUM_RESAMPLES)
        ]
    )  # (resamples, 2 * metrics)
    intervals: dict[str, float] = {}
    for number, metric in enumerate(metrics):
        above, below = totals[:, 2 * number], totals[:, 2 * number + 1]
        resampled = np.where(below == 0, empty_iou, above / np.where(below == 0, 1, below))
        low, high = 100 * np.percentile(resampled, [2.5, 97.5])
        intervals |= {f"{metric.name}_low": float(low), f"{metric.name}_high": float(high)}
    return intervals


def _group_name(value: float, groups: tuple[tuple[str, float], ...]) -> str:
    """Name of the first group whose upper limit is at least ``value``."""
    return next(name for name, limit in groups if value <= limit)


def group_scores(
    scores: list[SampleScore], *, class_names: list[str]
) -> dict[str, dict[str, list[SampleScore]]]:
    """Group samples by expression kind and length, category and target size; omits empty groups."""
    by: dict[str, dict[str, list[SampleScore]]] = {
        "kind": {},
        "category": {},
        "size": {},
        "length": {},
    }
    for score in scores:
        share = score.target_area / score.image_area
        names = {
            "kind": score.kind,
            "category": class_names[score.category_id],
            "size": _group_name(share, SIZE_GROUPS),
            "length": _group_name(score.num_words, LENGTH_GROUPS),
        }
        for grouping, name in names.items():
            if name is not None:
                by[grouping].setdefault(name, []).append(score)
    return {grouping: groups for grouping, groups in by.items() if groups}
