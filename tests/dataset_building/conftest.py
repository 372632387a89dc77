import cv2
import numpy as np
import pytest
from oracle import blob
from review_files import HEIGHT, WIDTH, item

from cadformer_d2.dataset_building.review.items import ReviewImage


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
