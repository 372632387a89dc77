"""Compare methods on the same samples: means over seeds, intervals, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class SampleIous:
    """IoU of every sample of a test set, of one model or averaged over a method's seeds."""

    keys: list[tuple[int, int]]  # (ref_id, sent_id) of each sample
    image_ids: np.ndarray  # (samples,)
    iou: np.ndarray  # (samples,) in [0, 1]; without a target: whether the answer is empty


@dataclass(frozen=True)
class PairedDifference:
    """mIoU of a method minus a reference's, in points, with its uncertainty."""

    mean: float
    low: float  # 95 % interval
    high: float
    p_value: float  # two-sided, of no difference


def average_seeds(seeds: Sequence[SampleIous]) -> SampleIous:
    """Average each sample's IoU over the models of one method.

    Raises:
        ValueError: the models were scored on different samples.
    """
    first, *others = seeds
    for other in others:
        _refuse_other_samples(first, other)
    return SampleIous(first.keys, first.image_ids, np.mean([s.iou for s in seeds], axis=0))


def _refuse_other_samples(first: SampleIous, second: SampleIous) -> None:
    if first.keys != second.keys:
        differing = set(first.keys) ^ set(second.keys)
        raise ValueError(
            f"cannot pair results on different samples: {len(first.keys)} and "
            f"{len(second.keys)}, of which {len(differing)} are in only one of the two"
        )


def _bootstrap_means(values: np.ndarray, image_ids: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Means of ``values`` over resampled test sets, drawing images with replacement.

    Results on one image are correlated; resampling its expressions independently would make
    intervals too narrow.

    Args:
        values: (samples,).
        image_ids: (samples,).

    Returns:
        (NUM_RESAMPLES,).
    """
    _, image_index = np.unique(image_ids, return_inverse=True)
    count = np.bincount(image_index)
    total = np.bincount(image_index, values)
    draws = np.random.default_rng(seed).integers(len(count), size=(NUM_RESAMPLES, len(count)))
    return total[draws].sum(1) / count[draws].sum(1)


def bootstrap_interval(scores: SampleIous) -> tuple[float, float]:
    """95 % interval of mIoU in percent, over draws of test images."""
    low, high = 100 * np.percentile(_bootstrap_means(scores.iou, scores.image_ids), [2.5, 97.5])
    return float(low), float(high)


def compare_paired(method: SampleIous, reference: SampleIous) -> PairedDifference:
    """Difference in mIoU on shared samples, in which an image's difficulty for both cancels out.

    Interval and p-value describe another draw of test images; they exclude the spread over training
    seeds.

    Raises:
        ValueError: the two were scored on different samples.
    """
    _refuse_other_samples(method, reference)
    difference = method.iou - reference.iou
    resampled = _bootstrap_means(difference, method.image_ids)
    low, high = 100 * np.percentile(resampled, [2.5, 97.5])
    # Twice the smaller tail, which the resamples resolve only down to one of them.
    tail = min((resampled <= 0).mean(), (resampled >= 0).mean())
    p_value = min(1.0, 2 * max(float(tail), 1 / NUM_RESAMPLES))
    return PairedDifference(100 * float(difference.mean()), float(low), float(high), p_value)


def find_most_disputed(methods: Sequence[SampleIous], *, number: int) -> list[tuple[int, int]]:
    """Keys of the samples on which the methods' IoUs differ most, at most one per image."""
    spread = np.std([method.iou for method in methods], axis=0)
    chosen: dict[int, tuple[int, int]] = {}  # by image
    for index in np.argsort(-spread, kind="stable"):
        chosen.setdefault(int(methods[0].image_ids[index]), methods[0].keys[index])
    return list(chosen.values())[:number]
