"""Statistics of a dataset as Markdown, CSV and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from tabulate import tabulate

from ..atomic_files import write_atomically
from ..visualization import save_figure
from .description import ALL, Summary
from .spreadsheet import write_spreadsheet

# Upper bounds of target area as a share of the image.
AREA_BOUNDS = (0.001, 0.01, 0.05, 0.20, 1.0)


def _category_rows(summary: Summary) -> list[list[object]]:
    """Sentences by category and split: the paper's Table I; and targets and images."""
    rows: list[list[object]] = []
    for category in summary.categories:
        numbers = [summary.sentences[category, split] for split in summary.splits]
        rows.append([category, *numbers, sum(numbers)])
    by_split = [
        sum(summary.sentences[category, split] for category in summary.categories)
        for split in summary.splits
    ]
    rows.append(["all", *by_split, sum(by_split)])
    for name, counts in (("targets", summary.targets), ("images", summary.images)):
        rows.append([name, *(counts[split] for split in (*summary.splits, ALL))])
    return rows


def _number_rows(summary: Summary, truncated: Mapping[int, float]) -> list[list[object]]:
    """All single numbers.

    Args:
        truncated: share of the sentences that each token limit truncates.
    """
    words, plain = summary.num_words, summary.num_plain_words
    rows: list[list[object]] = [
        ["sentences", len(words)],
        ["categories", len(summary.categories)],
        ["words, least / mean / most", f"{words.min()} / {words.mean():.1f} / {words.max()}"],
        [
            "words without punctuation, least / mean / most",
            f"{plain.min()} / {plain.mean():.1f} / {plain.max()}",
        ],
        ["categories named in a sentence, mean", f"{summary.num_categories.mean():.2f}"],
    ]
    for number, text in enumerate(("no category", "one", "two", "three or more")):
        share = np.mean(np.minimum(summary.num_categories, 3) == number)
        rows.append([f"sentences naming {text}", f"{share:.1%}"])
    rows += [
        [f"sentences truncated at {limit} tokens", f"{share:.1%}"]
        for limit, share in truncated.items()
    ]
    if summary.by_targets["one target"] < len(words):
        rows += [[f"sentences about {name}", n] for name, n in summary.by_targets.items()]
    return rows + _area_rows(summary)


def _area_rows(summary: Summary) -> list[list[object]]:
    """Shares of the targets by the part of the image they cover."""
    areas = summary.area_shares
    if not len(areas):
        return []
    rows: list[list[object]] = [["target area of the image, median", f"{np.median(areas):.2%}"]]
    lower = 0.0
    for upper in AREA_BOUNDS:
        share = np.mean((areas > lower) & (areas <= upper))
        rows.append([f"targets of {lower:.1%} to {upper:.1%} of the image", f"{share:.1%}"])
        lower = upper
    return rows


def format_markdown(name: str, summary: Summary, truncated: Mapping[int, float]) -> str:
    """Both tables."""
    header = ["sentences by category", *(split or "no split" for split in summary.splits), "all"]
    table = tabulate(_category_rows(summary), header, tablefmt="github")
    numbers = tabulate(_number_rows(summary, truncated), ("", name), tablefmt="github")
    return f"## {name}\n\n{table}\n\n{numbers}\n"


def _write_csv(path: Path, summary: Summary, truncated: Mapping[int, float]) -> None:
    """Both tables, one below the other."""
    header: list[object] = ["category", *summary.splits, "all"]
    rows = [header, *_category_rows(summary), [], *_number_rows(summary, truncated)]
    write_spreadsheet(path, rows)


def write_description(
    folder: Path, name: str, summary: Summary, truncated: Mapping[int, float]
) -> None:
    """Write ``description.md``, ``.csv`` and ``.png`` into a folder, creating it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "description.md", format_markdown(name, summary, truncated))
    _write_csv(folder / "description.csv", summary, truncated)
    # A dollar sign in a category's name is not mathematics.
    with plt.rc_context({"text.parse_math": False}):
        save_figure(_draw_figure(name, summary), folder / "description.png", dpi=120)


def _draw_figure(name: str, summary: Summary) -> Figure:
    """Draw categories, sentence lengths and target areas side by side, for ``save_figure``."""
    has_areas = len(summary.area_shares) > 0
    made, axes = plt.subplots(1, 2 + has_areas, figsize=(5 * (2 + has_areas), 4), squeeze=False)
    _draw_categories(axes[0, 0], summary)
    lengths = np.arange(summary.num_words.min(), summary.num_words.max() + 2) - 0.5
    axes[0, 1].hist(summary.num_words, bins=lengths, color="tab:blue")
    mean = summary.num_words.mean()
    axes[0, 1].axvline(mean, color="black", linestyle="--", label=f"mean {mean:.1f}")
    axes[0, 1].set(xlabel="words of a sentence", ylabel="sentences")
    axes[0, 1].legend()
    if has_areas:
        shares = summary.area_shares * 100
        low, high = np.log10(shares.min()), np.log10(shares.max())
        axes[0, 2].hist(shares, bins=np.logspace(low, max(high, low + 0.1), 30), color="tab:green")
        axes[0, 2].set(xscale="log", xlabel="target area, % of the image", ylabel="targets")
        axes[0, 2].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0, 2].xaxis.set_major_formatter("{x:g}")
        axes[0, 2].xaxis.set_minor_formatter(NullFormatter())
    made.suptitle(name)
    made.tight_layout()
    return made


def _draw_categories(axis: Axes, summary: Summary) -> None:
    """Draw bars of the categories, stacked by split."""
    left = np.zeros(len(summary.categories))
    for split in summary.splits:
        numbers = np.array([summary.sentences[name, split] for name in summary.categories])
        axis.barh(summary.categories, numbers, left=left, label=split or "no split")
        left += numbers
    axis.invert_yaxis()
    axis.set(xlabel="sentences")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
