"""Splitting by image, stratified by category."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .triplets import Target, stable_id


def split_images(
    targets: Iterable[Target], shares: Mapping[str, float], *, seed: int
) -> dict[str, str]:
    """Assign every image to a split, so that each split has its share of each category's targets.

    Iterative stratification (Sechidis et al., 2011): the images of the rarest category come first,
    each going to the split that lacks most of that category. The order depends only on the names of
    the images and the seed.

    Args:
        targets: of all splits together.
        shares: of each split, adding up to 1.
        seed: of the order of equally good choices.

    Raises:
        ValueError: the shares are not positive or do not add up to 1.
    """
    # Written so that a NaN is refused too.
    if not (min(shares.values()) > 0 and abs(sum(shares.values()) - 1) <= 1e-6):
        raise ValueError(f"shares are {dict(shares)}; they must be positive and add up to 1")
    categories: dict[str, Counter[str]] = defaultdict(Counter)
    for target in targets:
        categories[target.image][target.category] += 1
    totals: Counter[str] = sum(categories.values(), Counter())
    lacking = {
        split: {category: share * number for category, number in totals.items()}
        for split, share in shares.items()
    }
    assigned: dict[str, str] = {}
    for rarest in sorted(totals, key=lambda category: (totals[category], category)):
        images = [image for image in categories if rarest in categories[image]]
        # Images with many targets first; those with few even out the excess.
        images.sort(key=lambda image: (-categories[image][rarest], stable_id(seed, image)))
        for image in images:
            if image not in assigned:
                assigned[image] = _deal(categories[image], rarest, lacking, shares)
    return assigned


def _deal(
    content: Mapping[str, int],
    rarest: str,
    lacking: Mapping[str, dict[str, float]],
    shares: Mapping[str, float],
) -> str:
    """Choose the split that lacks most of the rarest category, then most overall, for its size.

    ``lacking`` is updated. Without dividing by the size, the largest split would get all images
    with many targets, and everything else in those images.
    """

    def need(split: str) -> tuple[float, float]:
        lack = lacking[split]
        return lack[rarest] / shares[split], sum(lack.values()) / shares[split]

    chosen = max(lacking, key=need)
    for category, number in content.items():
        lacking[chosen][category] -= number
    return chosen


def find_leaking_images(targets: Iterable[Target]) -> dict[str, Sequence[str]]:
    """Find images that occur in more than one split, with those splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for target in targets:
        splits[target.image].add(target.split)
    return {image: sorted(found) for image, found in splits.items() if len(found) > 1}
