"""Category names of a file -> indices into a dataset's list of classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)


def normalize_name(name: str) -> str:
    """A name for comparison: publishers write one class with spaces, hyphens or capitals."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def match_categories(names: Mapping[int, str], classes: Sequence[str] | None) -> dict[int, int]:
    """Map a file's category ids to class indices, by name if the classes are known.

    If the numbers agree, and either no name or all names but one are known, the unknown ones are
    matched in the order of their ids, with a warning.

    Args:
        names: of the file's categories, by id.
        classes: the dataset's; None: the file's own, in the order of their ids.

    Raises:
        ValueError: a category is none of the classes.
    """
    ordered = sorted(names)
    if classes is None:
        return {category_id: index for index, category_id in enumerate(ordered)}
    known = {normalize_name(name): index for index, name in enumerate(classes)}
    indices = {
        category_id: known[normalize_name(names[category_id])]
        for category_id in ordered
        if normalize_name(names[category_id]) in known
    }
    others = [category_id for category_id in ordered if category_id not in indices]
    if not others:
        return indices
    left = sorted(set(range(len(classes))) - set(indices.values()))
    named = f"category {names[others[0]]!r} is not one of the classes ({', '.join(classes)})"
    # One name for one class, or all of them renamed; anything in between would be a guess.
    if len(others) != len(left) or (indices and len(others) > 1):
        raise ValueError(f"{named}; rename it in the file, or check that this is the right dataset")
    taken = ", ".join(
        f"{names[category_id]!r} as {classes[index]!r}"
        for category_id, index in zip(others, left, strict=True)
    )
    logger.warning("%s; matched in the order of the ids: %s", named, taken)
    return {**indices, **dict(zip(others, left, strict=True))}
