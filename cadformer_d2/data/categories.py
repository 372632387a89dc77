"""The names of a file's categories -> places in a dataset's list of classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)


def spelling(name: str) -> str:
    """A name as it is compared: publishers write one class with spaces, hyphens and capitals."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def category_indices(names: Mapping[int, str], classes: Sequence[str] | None) -> dict[int, int]:
    """From a file's category ids to indices, by name where the classes are known.

    A file that has as many categories, of which no name or all but one are known, is taken in the
    order of its ids for those, with a warning.

    Args:
        names: of the file's categories, by id.
        classes: that the indices count; None: the file's own, in the order of their ids.

    Raises:
        ValueError: a category that is none of the classes.
    """
    ordered = sorted(names)
    if classes is None:
        return {category_id: index for index, category_id in enumerate(ordered)}
    known = {spelling(name): index for index, name in enumerate(classes)}
    indices = {
        category_id: known[spelling(names[category_id])]
        for category_id in ordered
        if spelling(names[category_id]) in known
    }
    others = [category_id for category_id in ordered if category_id not in indices]
    if not others:
        return indices
    left = sorted(set(range(len(classes))) - set(indices.values()))
    named = f"category {names[others[0]]!r} is none of the known ones ({', '.join(classes)})"
    # One name beside one class, or all of them renamed; anything between would be a guess.
    if len(others) != len(left) or (indices and len(others) > 1):
        raise ValueError(f"{named}; rename it in the file, unless this is another dataset")
    taken = ", ".join(
        f"{names[category_id]!r} for {classes[index]!r}"
        for category_id, index in zip(others, left, strict=True)
    )
    logger.warning("%s; taken in the order of their ids: %s", named, taken)
    return {**indices, **dict(zip(others, left, strict=True))}
