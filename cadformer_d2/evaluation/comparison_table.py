"""The table of a comparison: one row per method, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from .comparison import SampleIous, average_seeds, bootstrap_interval, compare_paired
from .metrics import table_metric_names

GROUPINGS = ("targets", "kind", "length", "size")


@dataclass(frozen=True)
class MethodResult:
    """The scores of one method's models."""

    name: str
    metrics: Sequence[Mapping[str, Any]]  # per seed: the content of metrics_<dataset>.json
    samples: Sequence[SampleIous]  # per seed
    cost: Mapping[str, float]  # "parameters (M)", "GFLOPs", "training (s)": further columns
    published: Mapping[str, float]  # metric -> percent; empty if nothing is published
    diagnostics: Mapping[str, Sequence[float]]  # changed expressions -> mIoU or gIoU per seed


def _format_mean_and_spread(values: Sequence[float]) -> str:
    """Format the mean, and the standard deviation if there are several seeds."""
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"


def main_rows(results: Sequence[MethodResult]) -> list[dict[str, str]]:
    """One row per method; the first method is the reference of the paired differences."""
    reference = average_seeds(results[0].samples)
    mean = mean_name(results[0].metrics[0])
    rows = []
    for result in results:
        average = average_seeds(result.samples)
        low, high = bootstrap_interval(average)
        row = {"method": result.name, "seeds": str(len(result.metrics))}
        # Files older than a metric lack it.
        row |= {
            name: _format_mean_and_spread([metrics[name] for metrics in result.metrics])
            for name in table_metric_names()
            if all(name in metrics for metrics in result.metrics)
        }
        row[f"{mean} 95 %"] = f"{low:.1f} - {high:.1f}"
        row[f"{mean} minus {results[0].name}"] = _format_difference(average, reference)
        row |= {name: f"{value:.1f}" for name, value in result.cost.items()}
        row |= {f"published {name}": f"{value:.2f}" for name, value in result.published.items()}
        rows.append(row)
    return rows


def mean_name(metrics: Mapping[str, Any]) -> str:
    """What the mean of the IoUs of all samples is called: gIoU where some have no target."""
    return "gIoU" if "gIoU" in metrics else "mIoU"


def _format_difference(method: SampleIous, reference: SampleIous) -> str:
    if method.iou is reference.iou or np.array_equal(method.iou, reference.iou):
        return "-"
    difference = compare_paired(method, reference)
    return (
        f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), "
        f"p {difference.p_value:.3f}"
    )


def group_rows(results: Sequence[MethodResult]) -> list[dict[str, str]]:
    """mIoU by kind of expression, length and target size, and on changed expressions.

    gIoU where some expressions have no target: for these it is the share declared absent.
    """
    rows = []
    for result in results:
        row = {"method": result.name}
        for grouping in GROUPINGS:
            for name in result.metrics[0]["groups"].get(grouping, {}):
                found = [m["groups"][grouping][name] for m in result.metrics]
                row[name] = _format_mean_and_spread([m[mean_name(m)] for m in found])
        row |= {
            name: _format_mean_and_spread(values) for name, values in result.diagnostics.items()
        }
        rows.append(row)
    return rows


def render_table(rows: Sequence[Mapping[str, str]], form: str) -> str:
    """Render rows as a table; missing cells stay empty.

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
