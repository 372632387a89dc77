"""A segmenter that knows the truth, and masks that are hard to outline."""

import cv2
import numpy as np

from cadformer_d2.dataset_building.boxes import box_iou, box_window, enclosing_box
from cadformer_d2.dataset_building.images import decode_mask, read_rgb
from cadformer_d2.dataset_building.segmenters import BoxMask


class OracleSegmenter:
    """Answers a box with the known mask of that image that fits it best."""

    version = {"name": "oracle"}

    def __init__(self, images, instances):
        names = {image["id"]: image["file_name"] for image in instances["images"]}
        self.masks = {}
        for annotation in instances["annotations"]:
            image = read_rgb(images / names[annotation["image_id"]])
            mask = decode_mask(annotation["segmentation"][0])
            self.masks.setdefault(image.tobytes(), []).append(mask)

    def segment(self, image, boxes):
        known = self.masks[image.tobytes()]
        best = [max(known, key=lambda mask: box_iou(enclosing_box(mask), box)) for box in boxes]
        return [BoxMask(mask, 1.0, 1.0) for mask in best]


class WholeBoxSegmenter:
    """Takes the box itself for the object."""

    version = {"name": "whole box"}

    def segment(self, image, boxes):
        answers = []
        for box in boxes:
            mask = np.zeros(image.shape[:2], bool)
            mask[box_window(box, *image.shape[:2])] = True
            answers.append(BoxMask(mask, 1.0, 1.0))
        return answers


def blob(seed, *, height=90, width=120, blur=4.0):
    """A random mask with fragments, holes, islands in holes and contact with the border."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return smooth > np.median(smooth)
