"""How far two functions of the same samples differ."""

import numpy as np
import pytest
import torch

from cadformer_d2.commands.compare_exports import spread_evenly
from cadformer_d2.deployment.agreement import compare_functions, stack_inputs

READS = ("input_ids", "attention_mask")


def sample(length, value):
    ids = torch.arange(1, length + 1)
    image = torch.full((3, 2, 2), float(value))
    return {"image": image, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def answer(image, ids, _):
    """P(target) is the first channel; of no more words than 2, P is 0."""
    target = image[:, 0] * (ids > 0).sum(1).gt(2)[:, None, None]
    return (torch.stack([1 - target, target], dim=1),)


def test_differences_and_pixels_are_counted_over_all_batches():
    batches = [[sample(4, 0.9), sample(3, 0.4)], [sample(3, 0.6)]]

    def shifted(*inputs):
        target = np.asarray(answer(*inputs)[0])[:, 1] - np.float32(0.2)
        return (np.stack([1 - target, target], axis=1),)

    seen = []
    found = compare_functions(
        {"one": answer, "other": shifted},
        batches,
        reads=READS,
        observe=lambda name, batch, values: seen.append((name, len(batch), values.shape)),
    )
    assert found["one"].largest_difference == found["one"].num_differing == 0
    assert found["other"].largest_difference == pytest.approx(0.2)
    assert (found["other"].num_differing, found["other"].num_pixels) == (4, 12)  # of 0.6
    assert [(name, count) for name, count, _ in seen] == [
        *(("one", 2), ("other", 2), ("one", 1), ("other", 1))
    ]
    assert len(found["other"].seconds) == 2


@pytest.mark.parametrize(("num_tokens", "length"), [(None, 4), (2, 2), (9, 9)])
def test_expressions_are_padded_or_truncated(num_tokens, length):
    image, ids, mask = stack_inputs([sample(4, 0), sample(3, 1)], READS, num_tokens)
    assert image.shape == (2, 3, 2, 2) and ids.shape == mask.shape == (2, length)
    wanted = [1, 2, 3, 0, 0, 0, 0, 0, 0][:length]
    assert ids[1].tolist() == wanted and mask[1].tolist() == [int(word > 0) for word in wanted]


def test_a_sample_of_a_dataset_is_spread_from_its_first_to_its_last():
    assert spread_evenly(list(range(100)), 4) == [0, 33, 66, 99]
    assert spread_evenly([1, 2], 5) == spread_evenly([1, 2], None) == [1, 2]
