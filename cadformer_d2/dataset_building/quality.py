"""Quality of a mask without ground truth: measures, limits, a score and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field, TypeAdapter

from ..data.validation import quote, validate
from ..plain_yaml import read_yaml
from .boxes import box_area, box_iou, box_window, enclosing_box
from .triplets import Box

EMPTY = "empty mask"
DEFAULT_LIMITS = Path(__file__).parent / "quality_limits.yaml"

Limit = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Most = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True)
class QualityLimits:
    """The limits of a YAML file; ``quality_limits.yaml`` says what each means."""

    least_predicted_iou: Limit
    least_stability: Limit
    least_box_iou: Limit
    least_inside: Limit
    least_area_ratio: Limit
    most_area_ratio: Limit
    smallest_part: Limit
    most_fragments: Most
    most_holes: Most
    most_border_contact: Limit
    least_agreement: Limit


_LIMITS = TypeAdapter(QualityLimits)


def read_limits(path: Path = DEFAULT_LIMITS) -> QualityLimits:
    """
    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML, or a key is missing, unknown or not a number.
    """
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"{path}: not a YAML file of keys and numbers ({error})") from error
    known = {field.name for field in fields(QualityLimits)}
    given = set(content) if isinstance(content, dict) else set()
    if given != known:
        raise ValueError(
            f"{path}: missing keys: {', '.join(sorted(known - given)) or 'none'}; unknown keys: "
            f"{', '.join(sorted(map(quote, given - known))) or 'none'}"
        )
    try:
        return validate(_LIMITS, content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected a number of at least 0") from error


@dataclass(frozen=True)
class MaskQuality:
    """Measures of one mask."""

    predicted_iou: float | None
    stability: float
    box_iou: float
    inside: float
    area_ratio: float
    fragments: int
    holes: int
    border_contact: float


def measure_mask(
    mask: np.ndarray,
    box: Box,
    *,
    predicted_iou: float | None,
    stability: float,
    smallest_part: float,
) -> MaskQuality:
    """
    Args:
        mask: (H, W) bool.
        box: the prompt.
        predicted_iou, stability: as the segmenter gave them.
        smallest_part: components and holes below this share of the mask's area are not counted.
    """
    area = int(mask.sum())
    rows, columns = box_window(box, *mask.shape)
    least = max(1.0, smallest_part * area)
    parts, fragments = _keep_large_components(mask, least)
    border = mask.copy()
    border[1:-1, 1:-1] = False
    return MaskQuality(
        predicted_iou=predicted_iou,
        stability=stability,
        box_iou=box_iou(enclosing_box(parts), box),
        inside=float(mask[rows, columns].sum() / area) if area else 0.0,
        area_ratio=area / box_area(box),
        fragments=fragments,
        holes=_count_holes(mask, least),
        border_contact=float(border.sum() / area) if area else 0.0,
    )


def _keep_large_components(mask: np.ndarray, least: float) -> tuple[np.ndarray, int]:
    """Keep the connected components (4 neighbours) of at least ``least`` pixels.

    Returns:
        their mask (H, W) bool, and their number.
    """
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    is_large = statistics[:, cv2.CC_STAT_AREA] >= least
    is_large[0] = False  # the background
    return is_large[labels], int(is_large.sum())


def _count_holes(mask: np.ndarray, least: float) -> int:
    """Count enclosed components of the background of at least ``least`` pixels."""
    around = np.pad(~mask, 1, constant_values=True)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(around.astype(np.uint8), connectivity=4)
    # The added frame connects everything outside to one component, that of pixel (0, 0).
    inside = [row for row in statistics[1:] if row[cv2.CC_STAT_LEFT] > 0]
    return sum(int(row[cv2.CC_STAT_AREA] >= least) for row in inside)


@dataclass(frozen=True)
class Verdict:
    """Whether a mask needs a review, how urgently, and why."""

    score: float  # in [0, 1]; 1 if every limit is kept
    reasons: tuple[str, ...]

    @property
    def is_doubtful(self) -> bool:
        return bool(self.reasons)


def judge_quality(quality: MaskQuality, limits: QualityLimits) -> Verdict:
    """Compare measures with limits; each broken limit is a reason and lowers the score."""
    if not quality.area_ratio:
        return Verdict(0.0, (EMPTY,))
    score, reasons = 1.0, []
    for name, kept, share in _compare_with_limits(quality, limits):
        if not kept:
            reasons.append(name)
            score *= share
    return Verdict(score, tuple(reasons))


def _compare_with_limits(
    quality: MaskQuality, limits: QualityLimits
) -> Iterator[tuple[str, bool, float]]:
    """Yield (reason, whether the limit is kept, ratio of measure and limit in [0, 1])."""
    for name in ("predicted_iou", "stability", "box_iou", "inside", "area_ratio"):
        value, least = getattr(quality, name), getattr(limits, f"least_{name}")
        if value is not None:
            kept = value >= least
            yield f"{name} {value:.2f} < {least:g}", kept, value / least if not kept else 1.0
    for name in ("area_ratio", "fragments", "holes", "border_contact"):
        value, most = getattr(quality, name), getattr(limits, f"most_{name}")
        kept = value <= most
        # Counts are compared with one more than the limit, so that a limit of 0 has a share too.
        extra = 1 if isinstance(value, int) else 0
        share = 1.0 if kept else (most + extra) / (value + extra)
        yield f"{name} {value:.4g} > {most:g}", kept, share
