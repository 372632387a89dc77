"""The table of a comparison: one row a method, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from .comparison import SampleIous, interval, mean_over_seeds, paired_difference
from .metrics import table_metrics

GROUPINGS = ("kind", "length", "size")


@dataclass(frozen=True)
class MethodResult:
    """What is known of one method once its models are scored."""

    name: str
    metrics: Sequence[Mapping[str, Any]]  # of each seed: the content of metrics_<dataset>.json
    samples: Sequence[SampleIous]  # of each seed
    cost: Mapping[str, float]  # "parameters (M)", "GFLOPs", "training (s)": further columns
    published: Mapping[str, float]  # metric -> percent; empty where nothing was published
    diagnostics: Mapping[str, Sequence[float]]  # changed sentences -> mIoU of each seed


def spread(values: Sequence[float]) -> str:
    """Mean, and the standard deviation over seeds where there are several."""
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"


def main_rows(results: Sequence[MethodResult]) -> list[dict[str, str]]:
    """One row a method; the first method is the reference of the paired differences."""
    reference = mean_over_seeds(results[0].samples)
    rows = []
    for result in results:
        average = mean_over_seeds(result.samples)
        low, high = interval(average)
        row = {"method": result.name, "seeds": str(len(result.metrics))}
        # Files of before a metric existed lack it.
        row |= {
            name: spread([metrics[name] for metrics in result.metrics])
            for name in table_metrics()
            if all(name in metrics for metrics in result.metrics)
        }
        row["mIoU 95 %"] = f"{low:.1f} - {high:.1f}"
        row[f"mIoU minus {results[0].name}"] = difference_text(average, reference)
        row |= {name: f"{value:.1f}" for name, value in result.cost.items()}
        row |= {f"published {name}": f"{value:.2f}" for name, value in result.published.items()}
        rows.append(row)
    return rows


def difference_text(method: SampleIous, reference: SampleIous) -> str:
    if method.iou is reference.iou or np.array_equal(method.iou, reference.iou):
        return "-"
    difference = paired_difference(method, reference)
    return (
        f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), "
        f"p {difference.p_value:.3f}"
    )


def group_rows(results: Sequence[MethodResult]) -> list[dict[str, str]]:
    """mIoU by kind of sentence, length and target size, and with changed sentences."""
    rows = []
    for result in results:
        row = {"method": result.name}
        for grouping in GROUPINGS:
            for name in result.metrics[0]["groups"].get(grouping, {}):
                row[name] = spread([m["groups"][grouping][name]["mIoU"] for m in result.metrics])
        row |= {name: spread(values) for name, values in result.diagnostics.items()}
        rows.append(row)
    return rows


def rendered(rows: Sequence[Mapping[str, str]], form: str) -> str:
    """Rows as a table; a cell that a row lacks is left empty.

    Args:
        form: "markdown", "latex" or "csv".
    """
    header = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name, "") for name in header] for row in rows]
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([header, *cells])
        return text.getvalue()
    style = {"markdown": "github", "latex": "latex_booktabs"}[form]
    return tabulate(cells, header, tablefmt=style, disable_numparse=True) + "\n"
