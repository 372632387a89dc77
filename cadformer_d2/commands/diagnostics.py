"""Test sets with changed expressions, which tell whether a model reads them."""

from __future__ import annotations

from detectron2.data import MetadataCatalog

from ..data.catalog import load_dataset_records

# Variants of a test set with changed expressions, and their names in the table.
DIAGNOSTICS = {
    "shuffled": "sentence of another target",
    "other_scenes": "sentence of another scene",
    "no_places": "place words removed",
    "no_categories": "category words removed",
}


def find_diagnostics(dataset: str) -> dict[str, str]:
    """Those of DIAGNOSTICS that a registered test set has; prints why it lacks the others.

    Raises:
        ValueError, OSError: the test set itself cannot be loaded.
    """
    load_dataset_records(dataset)
    found = {}
    for variant, column in DIAGNOSTICS.items():
        if reason := _find_reason_against(dataset, variant):
            print(f"compare: {dataset} has no column {column!r}: {reason}")
        else:
            found[variant] = column
    return found


def _find_reason_against(dataset: str, variant: str) -> str:
    """Why a test set cannot be scored with such expressions; empty if it can."""
    if variant == "other_scenes" and not MetadataCatalog.get(dataset).get("any_targets"):
        return "its refs have one target each, so no right answer is that there is none"
    try:
        load_dataset_records(f"{dataset}_{variant}")
    except ValueError as error:
        return str(error)
    return ""
