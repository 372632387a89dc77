"""Writes a tiny dataset in RRSIS-D's layout, for tests to read or to damage."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 40, 60


def square(top, left, side=10):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


class ReferFiles:
    """Contents of refs and instances, to be changed before ``write``."""

    def __init__(self, root, *, num_images=3, name="synthrs"):
        self.root, self.name = Path(root), name
        self.annotations = self.root / name
        self.images = self.root / "images" / name / "JPEGImages"
        self.instances = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "baseball field"}, {"id": 2, "name": "tennis court"}],
        }
        self.refs = []
        for image_id in range(1, num_images + 1):
            self.instances["images"].append(
                {"id": image_id, "file_name": f"{image_id}.jpg", "height": HEIGHT, "width": WIDTH}
            )
            for split, left in (("train", 5), ("test", 40), ("val", 25)):
                self.add_target(image_id, split, square(5 * image_id, left))

    def add_target(self, image_id, split, mask):
        ref_id = len(self.refs) + 1
        self.instances["annotations"].append(
            {
                "id": ref_id,
                "image_id": image_id,
                "category_id": 1 + ref_id % 2,
                "segmentation": [rle(mask)],
                "bbox": [1, 2, 3, 4],  # wrong on purpose: the mask is what counts
            }
        )
        sentences = [
            {"sent_id": 2 * ref_id + k, "sent": text, "raw": text, "tokens": text.split()}
            for k, text in enumerate(("the storage tank", "the roundabout on the left"))
        ]
        self.refs.append(
            {
                "ref_id": ref_id,
                "ann_id": ref_id,
                "image_id": image_id,
                "category_id": 1 + ref_id % 2,
                "split": split,
                "file_name": f"{image_id}.jpg",
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                "sentences": sentences,
            }
        )

    def write(self):
        self.annotations.mkdir(parents=True, exist_ok=True)
        self.images.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for image in self.instances["images"]:
            pixels = rng.integers(256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8)
            cv2.imwrite(str(self.images / Path(image["file_name"]).name), pixels)
        (self.annotations / "instances.json").write_text(json.dumps(self.instances))
        (self.annotations / "refs(unc).p").write_bytes(pickle.dumps(self.refs, protocol=2))
        return self
