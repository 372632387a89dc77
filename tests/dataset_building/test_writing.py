"""What ``write`` makes of one picture, also of one that changed, and after a kill."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from oracle import WholeBoxSegmenter
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask

from cadformer_d2.data.catalog import find_dataset
from cadformer_d2.data.image_file import read_image_size
from cadformer_d2.dataset_building import steps
from cadformer_d2.dataset_building.mask_building import build_masks
from cadformer_d2.dataset_building.quality import DEFAULT_LIMITS
from cadformer_d2.dataset_building.workspace import Workspace

SHARES = [0.5, 0.25, 0.25]


@pytest.fixture
def work(tmp_path):
    """A workspace with the mask of one box in a picture of 40 x 60 pixels (width x height)."""
    images = tmp_path / "images"
    images.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the file stores 60 x 40 pixels
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(images / "a.jpg", exif=exif)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 40}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [5, 30, 30, 28], "caption": "it"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    steps.read_source(
        work=tmp_path / "work",
        source_format="coco",
        split=[("train", tmp_path / "train.json")],
        annotations=None,
        images=images,
        image_size=None,
    )
    build_masks(Workspace(tmp_path / "work"), WholeBoxSegmenter())
    return tmp_path / "work"


def write(work, split_shares=None):
    root = work.parent / "root"
    steps.write_dataset(
        work=work,
        name="mydata",
        root=root,
        limits=DEFAULT_LIMITS,
        undecided="keep",
        split_shares=split_shares,
        seed=0,
        allow_leakage=False,
    )
    return root


def test_a_picture_that_exif_turns_keeps_one_size_from_box_to_dataset(work):
    root = write(work)
    instances = json.loads((root / "mydata" / "instances.json").read_text())
    (image,) = instances["images"]
    written = root / "images" / "mydata" / "JPEGImages" / "a.jpg"
    assert (image["height"], image["width"]) == (60, 40) == read_image_size(written)
    (record,) = find_dataset("mydata", root).load(root, "train", False)
    (annotation,) = record["annotations"]
    assert annotation["bbox"] == [5, 30, 35, 58]
    assert coco_mask.decode(annotation["segmentation"]).shape == (60, 40)


def test_an_image_that_has_changed_since_its_masks_were_made_is_named(work):
    Image.new("RGB", (30, 20)).save(work.parent / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg has 20 x 30 pixels .* from 'read' on"):
        write(work)
    assert not (work.parent / "root" / "mydata").exists()


def die_between_renames(work, renames_left):
    """Write a dataset and be killed before the n-th renaming of a folder."""
    rename = os.replace

    def replace_folder(source, destination):
        nonlocal renames_left
        if os.path.isdir(source):
            if renames_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            renames_left -= 1
        rename(source, destination)

    os.replace = replace_folder  # in this process alone
    write(work)


def test_a_write_killed_between_its_renames_can_be_repeated(work):
    fork = multiprocessing.get_context("fork")
    for renames in (0, 1, 0, 1, 1):  # a rename more after the second: what that left is moved away
        process = fork.Process(target=die_between_renames, args=(work, renames))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    root = work.parent / "root"
    assert (root / "images" / "mydata").is_dir() and not (root / "mydata").exists()
    write(work)
    assert sorted(path.name for path in root.iterdir()) == ["images", "mydata"]
    assert [path.name for path in (root / "images" / "mydata").iterdir()] == ["JPEGImages"]
    with pytest.raises(FileExistsError, match="choose another name"):
        write(work)


def test_images_that_somebody_else_put_there_are_never_replaced(work):
    (work.parent / "root" / "images" / "mydata").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="choose another name"):
        write(work)


def test_splits_that_no_dataset_here_has_are_refused_until_shares_are_given(work):
    workspace = Workspace(work)
    (triplet,) = workspace.read_triplets()
    workspace.write_triplets([replace(triplet, split="testA")], workspace.read_image_folder())
    build_masks(workspace, WholeBoxSegmenter())
    with pytest.raises(ValueError, match="in none of the splits train, val, test, .* 'testA'"):
        write(work)
    assert find_dataset("mydata", write(work, SHARES)).published_counts == {"train": 1}
