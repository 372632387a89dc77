"""The metrics of referring segmentation, from pixel counts. All results are in percent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
NUM_RESAMPLES = 1000
# Upper limits of the groups by the target's share of the image, and by words of the sentence.
SIZE_GROUPS = (("under_1pct", 0.01), ("1_to_5pct", 0.05), ("over_5pct", np.inf))
LENGTH_GROUPS = (("1_to_5_words", 5), ("6_to_10_words", 10), ("11_to_20_words", 20),
                 ("over_20_words", np.inf))  # fmt: skip


@dataclass(frozen=True)
class SampleScore:
    """What is kept of one prediction: counts in pixels at the resolution of scoring."""

    image_id: int
    ref_id: int
    sent_id: int
    intersection: int
    union: int
    target_area: int
    image_area: int
    num_words: int
    category_id: int
    kind: str | None  # kind of the sentence, where the dataset says it

    def iou(self, empty_iou: float) -> float:
        """Intersection over union in [0, 1]; ``empty_iou`` where both masks are empty."""
        return self.intersection / self.union if self.union else empty_iou


def summarize(scores: Iterable[SampleScore], *, empty_iou: float) -> dict[str, float]:
    """mIoU, oIoU and Pr@0.5 .. Pr@0.9 in percent.

    mIoU is the mean over samples, oIoU the sum of intersections over the sum of unions, Pr@x the
    share of samples with IoU >= x.

    Args:
        empty_iou: IoU of a sample whose mask and prediction are both empty.

    Raises:
        ValueError: there is no sample.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no sample to score")
    iou = np.array([score.iou(empty_iou) for score in scores])
    metrics = {
        "mIoU": 100 * float(iou.mean()),
        "oIoU": overall_iou(scores, empty_iou=empty_iou),
    }
    for threshold in THRESHOLDS:
        metrics[f"Pr@{threshold}"] = 100 * float((iou >= threshold).mean())
    return metrics


def overall_iou(scores: list[SampleScore], *, empty_iou: float) -> float:
    """Sum of intersections over sum of unions, in percent."""
    union = sum(score.union for score in scores)
    if not union:
        return 100 * empty_iou
    return 100 * sum(score.intersection for score in scores) / union


def bootstrap_intervals(
    scores: list[SampleScore], *, empty_iou: float, seed: int = 0
) -> dict[str, float]:
    """95 % intervals of mIoU and oIoU: how far another draw of test images would move them.

    Images are drawn with replacement, not samples: the sentences about one image stand or fall
    together, and drawing them apart would make the interval too narrow.

    Returns:
        {"mIoU_low", "mIoU_high", "oIoU_low", "oIoU_high"} in percent.
    """
    image_ids = np.array([score.image_id for score in scores])
    values = np.array(
        [[score.iou(empty_iou), 1, score.intersection, score.union] for score in scores], float
    )
    _, image_index = np.unique(image_ids, return_inverse=True)
    per_image = np.zeros((image_index.max() + 1, 4))
    np.add.at(per_image, image_index, values)
    rng = np.random.default_rng(seed)
    totals = np.stack(
        [
            per_image[rng.integers(len(per_image), size=len(per_image))].sum(0)
            for _ in range(NUM_RESAMPLES)
        ]
    )  # (resamples, 4)
    mean_iou = totals[:, 0] / totals[:, 1]
    no_union = totals[:, 3] == 0
    overall = np.where(no_union, empty_iou, totals[:, 2] / np.maximum(totals[:, 3], 1))
    intervals: dict[str, float] = {}
    for name, resampled in (("mIoU", mean_iou), ("oIoU", overall)):
        low, high = 100 * np.percentile(resampled, [2.5, 97.5])
        intervals |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return intervals


def group_name(value: float, groups: tuple[tuple[str, float], ...]) -> str:
    """Name of the first group whose upper limit is not exceeded."""
    return next(name for name, limit in groups if value <= limit)


def grouped(
    scores: list[SampleScore], *, class_names: list[str]
) -> dict[str, dict[str, list[SampleScore]]]:
    """Samples by sentence kind, category, target size and sentence length, without empty groups."""
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
            "size": group_name(share, SIZE_GROUPS),
            "length": group_name(score.num_words, LENGTH_GROUPS),
        }
        for grouping, name in names.items():
            if name is not None:
                by[grouping].setdefault(name, []).append(score)
    return {grouping: groups for grouping, groups in by.items() if groups}
