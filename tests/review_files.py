"""A review given out to an annotation tool, and changes to its files."""

import json

import cv2
import numpy as np
import pytest
from oracle import blob

from cadformer_d2.dataset_building.images import encode_mask
from cadformer_d2.dataset_building.review import export_review
from cadformer_d2.dataset_building.review.items import ReviewImage, ReviewItem

HEIGHT, WIDTH = 90, 120
EDITORS = ("labelme", "isat", "coco")


def item(target_id, number, mask, category="storage tank"):
    return ReviewItem(
        target_id=target_id,
        number=number,
        category=category,
        sentences=("the tank <on> the left", "it is the largest & whitest one"),
        box_xyxy=(10.0, 10.0, 60.0, 60.0),
        mask=encode_mask(mask),
        score=0.5,
        reasons=("holes 2 > 0",),
    )


def given_out(tool, images, source, tmp_path):
    folder = tmp_path / tool
    export_review(images, tool=tool, source=source, folder=folder)
    return folder


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def images():
    """Two images; the first has two targets whose masks overlap, one with holes and islands."""
    window = np.zeros((HEIGHT, WIDTH), bool)
    window[5:60, 5:70] = True
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[20:50, 30:60] = True
    first = (item(11, 1, blob(1) & window), item(12, 2, square, "pool"))
    return [
        ReviewImage("a.jpg", 1, HEIGHT, WIDTH, first),
        ReviewImage("folder/b.jpg", 2, HEIGHT, WIDTH, (item(13, 1, blob(2)),)),
    ]


@pytest.fixture
def source(tmp_path, images):
    for image in images:
        path = tmp_path / "source" / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
    return tmp_path / "source"
