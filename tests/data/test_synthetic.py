import dataclasses
import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from refer_files import ReferFiles

from cadformer_d2.data.synthetic import SynthrsParameters, generate_synthrs
from cadformer_d2.data.synthetic.expressions import build_vocabulary
from cadformer_d2.data.tokenization import PACKAGED_FOLDER, ExpressionTokenizer

SMALL = {"train": 60, "val": 3, "test": 20}
TINY = SynthrsParameters(train=2, val=1, test=1)


def generate(root, *, processes=1, **changes):
    generate_synthrs(root, SynthrsParameters(**(SMALL | changes)), processes=processes)
    refs = pickle.loads((root / "synthrs" / "refs(unc).p").read_bytes())
    instances = json.loads((root / "synthrs" / "instances.json").read_text())
    return refs, instances


@pytest.fixture(scope="module", params=["short", "long"])
def dataset(request, tmp_path_factory):
    return generate(tmp_path_factory.mktemp("synthrs"), style=request.param)


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_seed_alone_decides_every_byte(tmp_path):
    few = {"train": 9, "val": 2, "test": 2}
    generate(tmp_path / "one", processes=1, **few)
    generate(tmp_path / "two", processes=2, **few)
    generate(tmp_path / "other", seed=1, **few)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def centres(refs, instances):
    """Centre (x, y) in image widths of every ref's mask, and refs by image and category."""
    annotations = {a["id"]: a for a in instances["annotations"]}
    position, together = {}, {}
    for ref in refs:
        rows, columns = np.nonzero(coco_mask.decode(annotations[ref["ann_id"]]["segmentation"][0]))
        position[ref["ref_id"]] = np.array([columns.mean(), rows.mean()]) / 96
        together.setdefault((ref["image_id"], ref["category_id"]), []).append(ref["ref_id"])
    return position, together


def test_outermost_objects_are_outermost_in_the_masks(dataset):
    refs, instances = dataset
    position, together = centres(refs, instances)
    direction = {"leftmost": (-1, 0), "rightmost": (1, 0), "topmost": (0, -1), "bottommost": (0, 1)}
    checked = 0
    for ref in refs:
        for sentence in ref["sentences"]:
            words = [word for word in direction if f"the {word} " in sentence["sent"]]
            for word in words:
                rivals = together[ref["image_id"], ref["category_id"]]
                best = max(rivals, key=lambda rival: position[rival] @ direction[word])
                assert best == ref["ref_id"], sentence["sent"]
                checked += 1
    assert checked > 10


def test_a_sentence_of_kind_category_is_about_a_category_that_occurs_once(dataset):
    refs, instances = dataset
    for ref in refs:
        alike = [
            a
            for a in instances["annotations"]
            if (a["image_id"], a["category_id"]) == (ref["image_id"], ref["category_id"])
        ]
        for sentence in ref["sentences"]:
            if sentence["kind"] == "category":
                assert len(alike) == 1


def test_language_decides_where_to_look(dataset):
    refs, _ = dataset
    images = {ref["image_id"] for ref in refs}
    assert len(refs) >= 2 * len(images)


def test_all_kinds_of_sentence_are_frequent(dataset):
    kinds = [sentence["kind"] for ref in dataset[0] for sentence in ref["sentences"]]
    assert all(kinds.count(k) > 0.15 * len(kinds) for k in ("category", "position", "relation"))


def test_masks_can_be_seen(dataset):
    areas = [annotation["area"] for annotation in dataset[1]["annotations"]]
    assert min(areas) >= 60


def test_splits_share_no_scene(dataset):
    by_split = {}
    for ref in dataset[0]:
        by_split.setdefault(ref["split"], set()).add(ref["file_name"])
    assert not by_split["train"] & by_split["test"] and not by_split["train"] & by_split["val"]


def test_long_sentences_have_6_to_41_words(tmp_path):
    refs, _ = generate(tmp_path, style="long")
    lengths = [len(sentence["tokens"]) for ref in refs for sentence in ref["sentences"]]
    assert min(lengths) >= 6 and max(lengths) <= 41 and np.mean(lengths) > 12


def test_the_packaged_vocabulary_is_that_of_the_grammar(dataset):
    assert (PACKAGED_FOLDER / "synthrs.txt").read_text().split("\n")[:-1] == build_vocabulary()
    tokenizer = ExpressionTokenizer(vocabulary="synthrs", max_tokens=64)
    for ref in dataset[0]:
        for sentence in ref["sentences"]:
            pieces = tokenizer.spell(tokenizer(sentence["sent"]))
            assert not any(piece.startswith("##") or piece == "[UNK]" for piece in pieces)


def test_the_same_dataset_is_reused_and_another_refused(tmp_path):
    assert generate_synthrs(tmp_path, TINY)
    assert not generate_synthrs(tmp_path, TINY)
    other = dataclasses.replace(TINY, seed=5)
    with pytest.raises(FileExistsError, match="has other parameters .*'seed': 0.*overwrite"):
        generate_synthrs(tmp_path, other)
    assert generate_synthrs(tmp_path, other, overwrite=True)


def test_a_dataset_that_something_else_made_is_not_replaced(tmp_path):
    ReferFiles(tmp_path).write()
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match="this program did not write.* pass --overwrite"):
        generate_synthrs(tmp_path, TINY, processes=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", ["[]", "null", '{"seed": []}'])
def test_an_odd_stamp_is_another_dataset(tmp_path, content):
    generate_synthrs(tmp_path, TINY, processes=1)
    (tmp_path / "synthrs" / "parameters.json").write_text(content)
    with pytest.raises(FileExistsError, match="pass --overwrite"):
        generate_synthrs(tmp_path, TINY, processes=1)
    assert generate_synthrs(tmp_path, TINY, processes=1, overwrite=True)


def test_a_run_killed_between_any_two_steps_is_repaired_by_the_next(tmp_path, monkeypatch):
    generate_synthrs(tmp_path / "whole", TINY, processes=1)
    wanted, moves, replace = contents(tmp_path / "whole"), [], os.replace

    def move_until(last):
        def move(*names):
            moves.append(names)
            if len(moves) > last:
                raise KeyboardInterrupt
            replace(*names)

        return move

    for last in range(4):
        root = tmp_path / str(last)
        generate_synthrs(root, dataclasses.replace(TINY, seed=9), processes=1)
        moves.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("cadformer_d2.data.synthetic.generator.os.replace", move_until(last))
            generate_synthrs(root, TINY, processes=1, overwrite=True)
        generate_synthrs(root, TINY, processes=1, overwrite=True)
        assert contents(root) == wanted
    assert len(moves) == 4


def test_images_that_were_taken_away_are_drawn_again(tmp_path):
    generate_synthrs(tmp_path, TINY, processes=1)
    before = contents(tmp_path)
    shutil.rmtree(tmp_path / "images")
    assert generate_synthrs(tmp_path, TINY, processes=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("failing", ["jpg", "json"])
def test_a_full_disk_is_named_and_nothing_is_left_on_it(tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    method = {"jpg": "write_bytes", "json": "write_text"}[failing]
    monkeypatch.setattr(Path, method, full)
    with pytest.raises(OSError, match=r"synthrs could not be written: .*No space left"):
        generate_synthrs(tmp_path, TINY, processes=1)
    assert contents(tmp_path) == {}


def test_an_interrupted_run_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cadformer_d2.data.synthetic.generator.write_refer_files", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate_synthrs(tmp_path, TINY, processes=1)
    assert not (tmp_path / "synthrs").exists() and not (tmp_path / "images").exists()
    assert generate_synthrs(tmp_path, TINY, processes=1)  # not disturbed by what is left
