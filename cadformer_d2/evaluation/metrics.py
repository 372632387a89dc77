"""The metrics of referring segmentation, from pixel counts. All results are in percent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NUM_RESAMPLES = 1000
# Upper limits of the groups by the target's share of the image, and by words of the expression.
SIZE_GROUPS = (("under_1pct", 0.01), ("1_to_5pct", 0.05), ("over_5pct", np.inf))
TARGET_GROUPS = (("no_target", 0), ("one_target", 1), ("several_targets", np.inf))
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
    num_targets: int = 1  # of the expression in the image

    @property
    def predicted_area(self) -> int:
        return self.union - self.target_area + self.intersection

    def iou(self, empty_iou: float) -> float:
        """Intersection over union in [0, 1].

        Without a target: 1 if the prediction is empty, else 0, as in GRES (arXiv 2306.00968). With
        one whose mask is empty at this resolution, as the prediction is: ``empty_iou``.
        """
        if not self.num_targets:
            return float(not self.predicted_area)
        return self.intersection / self.union if self.union else empty_iou


Samples = Literal["all", "with_target", "without_target"]


@dataclass(frozen=True)
class ScoreArrays:
    """The numbers of SampleScores, one entry per sample, in pixels at the scoring resolution."""

    iou: np.ndarray  # in [0, 1]
    intersection: np.ndarray
    union: np.ndarray
    target_area: np.ndarray
    image_area: np.ndarray
    num_targets: np.ndarray
    predicted_area: np.ndarray

    @classmethod
    def from_scores(cls, scores: Sequence[SampleScore], *, empty_iou: float) -> ScoreArrays:
        columns = {
            name: np.array([getattr(score, name) for score in scores], float)
            for name in ScoreArrays.__annotations__
            if name != "iou"
        }
        return cls(iou=np.array([score.iou(empty_iou) for score in scores]), **columns)

    @property
    def ones(self) -> np.ndarray:
        return np.ones_like(self.iou)

    def are_in(self, samples: Samples) -> np.ndarray:
        """(samples,) bool: with or without a target, or all."""
        if samples == "all":
            return np.ones(len(self.iou), bool)
        return (self.num_targets > 0) == (samples == "with_target")


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums over samples, in percent; with ``ones`` as denominator, a mean.

    It is left out where there is no sample of the kind that it is about.
    """

    name: str
    # ScoreArrays -> (numerator, denominator), one entry per sample. If the denominators sum to 0
    # (only pairs of empty masks), the ratio is TEST.EMPTY_IOU.
    terms: Callable[[ScoreArrays], tuple[np.ndarray, np.ndarray]]
    in_tables: bool = True  # a column of the tables by group and of comparisons
    has_interval: bool = False  # <name>_low and <name>_high are reported
    samples: Samples = "all"  # the sums are over these
    # Reported only of datasets in which an expression may have no target or several.
    is_generalized: bool = False


def _precision(threshold: float, *, in_tables: bool = True) -> Metric:
    """Pr@threshold, the share of samples with that IoU or more."""
    return Metric(
        f"Pr@{threshold}",
        lambda s: (s.iou >= threshold, s.ones),
        samples="with_target",
        in_tables=in_tables,
    )


# The metrics in display order: evaluator, log, files and comparison tables follow this list.
METRICS: tuple[Metric, ...] = (
    Metric("mIoU", lambda s: (s.iou, s.ones), has_interval=True, samples="with_target"),
    Metric("oIoU", lambda s: (s.intersection, s.union), has_interval=True),
    _precision(0.5),
    _precision(0.6, in_tables=False),
    _precision(0.7),
    _precision(0.8, in_tables=False),
    _precision(0.9),
    # As GRES (arXiv 2306.00968) defines them. An expression is declared absent by an empty mask.
    Metric("gIoU", lambda s: (s.iou, s.ones), has_interval=True, is_generalized=True),
    Metric("cIoU", lambda s: (s.intersection, s.union), in_tables=False, is_generalized=True),
    Metric(
        "N-acc",
        lambda s: (s.predicted_area == 0, s.ones),
        samples="without_target",
        is_generalized=True,
    ),
    Metric(
        "T-acc",
        lambda s: (s.predicted_area > 0, s.ones),
        samples="with_target",
        is_generalized=True,
    ),
)


def metric_names() -> list[str]:
    return [metric.name for metric in METRICS]


def table_metric_names() -> list[str]:
    """Names of the metrics with a column in tables."""
    return [metric.name for metric in METRICS if metric.in_tables]


def interval_metric_names() -> list[str]:
    """Names of the metrics reported with an interval."""
    return [metric.name for metric in METRICS if metric.has_interval]


def is_generalized(scores: Iterable[SampleScore]) -> bool:
    """Whether any expression has no target or several."""
    return any(score.num_targets != 1 for score in scores)


def summarize(
    scores: Iterable[SampleScore], *, empty_iou: float, generalized: bool | None = None
) -> dict[str, float]:
    """Compute the METRICS in percent.

    mIoU is the mean over samples with a target, oIoU the sum of all intersections over the sum of
    all unions, to which an answer without a target adds its area, Pr@x the share of samples with a
    target with IoU >= x. gIoU is the mean over all samples, where one without a target counts 1 if
    the answer is empty, else 0; cIoU is oIoU under the name it has there; N-acc is the share of
    samples without a target with an empty answer, T-acc that of the others with one that is not.

    Args:
        empty_iou: IoU of a sample with a target whose mask and prediction are both empty.
        generalized: whether to compute those of generalized datasets; None: ``is_generalized``.

    Raises:
        ValueError: ``scores`` is empty.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no sample to score")
    generalized = is_generalized(scores) if generalized is None else generalized
    arrays = ScoreArrays.from_scores(scores, empty_iou=empty_iou)
    return {
        metric.name: _value(metric, arrays, empty_iou)
        for metric in _metrics_of(arrays, generalized=generalized)
    }


def _metrics_of(arrays: ScoreArrays, *, generalized: bool) -> list[Metric]:
    """The metrics that have a sample."""
    return [
        metric
        for metric in METRICS
        if generalized >= metric.is_generalized and arrays.are_in(metric.samples).any()
    ]


def _value(metric: Metric, arrays: ScoreArrays, empty_iou: float) -> float:
    chosen = arrays.are_in(metric.samples)
    above, below = (float(term[chosen].sum()) for term in metric.terms(arrays))
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
    arrays = ScoreArrays.from_scores(scores, empty_iou=empty_iou)
    metrics = [
        metric
        for metric in _metrics_of(arrays, generalized=is_generalized(scores))
        if metric.has_interval
    ]
    columns = [
        np.where(arrays.are_in(metric.samples), term, 0)
        for metric in metrics
        for term in metric.terms(arrays)
    ]
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
    """Group samples by expression kind and length, targets, category and target size.

    Omits empty groups. Targets are counted only where not every expression has exactly one; a
    sample without any has no size.
    """
    generalized = is_generalized(scores)
    by: dict[str, dict[str, list[SampleScore]]] = {
        "targets": {},
        "kind": {},
        "category": {},
        "size": {},
        "length": {},
    }
    for score in scores:
        share = score.target_area / score.image_area
        names = {
            "targets": _group_name(score.num_targets, TARGET_GROUPS) if generalized else None,
            "kind": score.kind,
            "category": class_names[score.category_id] if score.category_id >= 0 else None,
            "size": _group_name(share, SIZE_GROUPS) if score.num_targets else None,
            "length": _group_name(score.num_words, LENGTH_GROUPS),
        }
        for grouping, name in names.items():
            if name is not None:
                by[grouping].setdefault(name, []).append(score)
    return {grouping: groups for grouping, groups in by.items() if groups}
