from collections import Counter

import numpy as np
import pytest

from cadformer_d2.dataset_building.splitting import find_leaking_images, split_images
from cadformer_d2.dataset_building.triplets import Target

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def make_targets(num_images=400, seed=0):
    """Images of one to six targets of five categories, the rarest of them one in fifty."""
    rng = np.random.default_rng(seed)
    shares = [0.5, 0.25, 0.15, 0.08, 0.02]
    targets = []
    for image in range(num_images):
        for _ in range(rng.integers(1, 7)):
            category = f"category {rng.choice(5, p=shares)}"
            key = len(targets)
            targets.append(Target(key, f"{image}.jpg", (0, 0, 9, 9), category, "", ("it",)))
    return targets


def test_every_split_has_its_share_of_every_category():
    targets = make_targets()
    split = split_images(targets, SHARES, seed=0)
    counts = Counter((target.category, split[target.image]) for target in targets)
    totals = Counter(target.category for target in targets)
    for category, total in totals.items():
        for name, share in SHARES.items():
            assert counts[category, name] == pytest.approx(
                share * total, abs=max(3, 0.012 * total)
            ), (category, name)


def test_an_image_is_in_one_split_and_the_same_seed_gives_the_same_splits():
    targets = make_targets()
    split = split_images(targets, SHARES, seed=0)
    assert set(split) == {target.image for target in targets}
    assert split == split_images(targets, SHARES, seed=0)
    assert split != split_images(targets, SHARES, seed=1)


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (0.5, float("nan"), 0.5)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="must be positive and add up to 1"):
        split_images(make_targets(5), dict(zip(SHARES, shares, strict=True)), seed=0)


def test_images_in_several_splits_are_found():
    targets = [
        Target(number, image, (0, 0, 9, 9), "pool", split, ("it",))
        for number, (image, split) in enumerate([("a", "train"), ("a", "test"), ("b", "train")])
    ]
    assert find_leaking_images(targets) == {"a": ["test", "train"]}
