"""Measure the score of a perfect model at the image's own size, given the network's output size.

    cadformer dataset ceiling --dataset rrsishr_test
    cadformer dataset ceiling --boxes rsvg_hr_*.txt --image-size 1024 1024

Every mask is shrunk to a label of the network's size and enlarged again, as a prediction is. The
second row shrinks with OpenCV's INTER_NEAREST, as many code bases do: it reads the pixel at the
corner of a network pixel instead of the one at its centre.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.modeling.postprocessing import sem_seg_postprocess
from pycocotools import mask as coco_mask
from tabulate import tabulate

from ..data.catalog import load_dataset_records, register_datasets
from ..data.masks import unite_targets
from ..dataset_building.defects import DefectLog
from ..dataset_building.images import mask_iou
from ..dataset_building.readers.rsvg_hr import read_rsvg_hr
from ..resampling import resize_mask

THRESHOLDS = (0.5, 0.7, 0.9)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="a registered dataset, such as rrsishr_test")
    source.add_argument(
        "--boxes", type=Path, nargs="+", help="RSVG-HR's text files; their boxes serve as masks"
    )
    parser.add_argument("--image-size", type=int, nargs=2, default=(1024, 1024), metavar=("H", "W"))
    parser.add_argument("--size", type=int, nargs=2, default=(480, 480), metavar=("H", "W"))
    return parser.parse_args()


def _box_masks(files: list[Path], image_size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Masks (height, width) uint8 of the boxes of RSVG-HR's text files."""
    by_name = {str(file): file for file in files}
    for triplet in read_rsvg_hr(by_name, lambda _: image_size, DefectLog()):
        mask = np.zeros(image_size, np.uint8)
        left, top, right, bottom = (round(edge) for edge in triplet.box_xyxy)
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = 1
        yield mask


def _dataset_masks(name: str) -> Iterator[np.ndarray]:
    """Masks (height, width) uint8 of a registered dataset."""
    register_datasets()
    for record in load_dataset_records(name):
        if record["annotations"]:  # nothing to shrink otherwise
            yield coco_mask.decode(unite_targets(record))


def _resize_mask_by_corner(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As ``resize_mask``, but read the pixel at the new pixel's corner."""
    return cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def _predict_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask (height, width) of a model that predicts a label (H, W) with certainty."""
    certain = torch.from_numpy(np.stack([1 - label, label]).astype(np.float32))
    background, target = sem_seg_postprocess(certain, label.shape, *size)
    return (target > background).numpy()


def _summarize(values: list[float]) -> list[float]:
    """Mean IoU and the shares at each threshold, in percent."""
    ious = np.array(values)
    return [100 * ious.mean(), *(100 * (ious >= threshold).mean() for threshold in THRESHOLDS)]


def main() -> None:
    arguments = _parse_arguments()
    size, image_size = tuple(arguments.size), tuple(arguments.image_size)
    ways: dict[str, Callable] = {"centre (ours)": resize_mask, "corner": _resize_mask_by_corner}
    scores: dict[str, list[float]] = {way: [] for way in ways}
    agreement = []
    masks = _dataset_masks(arguments.dataset) if arguments.dataset else None
    for mask in masks or _box_masks(arguments.boxes, image_size):
        labels = {way: resize(mask, size) for way, resize in ways.items()}
        agreement.append(mask_iou(*(label > 0 for label in labels.values())))
        for way, label in labels.items():
            scores[way].append(mask_iou(mask > 0, _predict_label(label, mask.shape)))
    if not agreement:
        raise ValueError("found no mask in the given dataset or files")
    rows = [(way, *_summarize(values)) for way, values in scores.items()]
    print(f"{len(agreement)} masks, labels of {size[0]} x {size[1]}, scored at the images' size:")
    header = ["labels", "mIoU", *(f"Pr@{threshold}" for threshold in THRESHOLDS)]
    print(tabulate(rows, header, floatfmt=".1f"))
    print(
        f"the two labels agree with mean IoU {np.mean(agreement):.3f}, under 0.9 for "
        f"{100 * np.mean(np.array(agreement) < 0.9):.0f} % of the masks"
    )
