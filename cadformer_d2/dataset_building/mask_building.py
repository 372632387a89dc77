"""Masks for every box of a workspace; a stopped run goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from .images import encoded, read_rgb
from .segmenters import Segmenter
from .triplets import Target, by_image
from .workspace import ImageMasks, MaskRecord, Workspace


def build_masks(workspace: Workspace, segmenter: Segmenter) -> int:
    """Segment every image of the workspace that has no masks yet; one file an image.

    A killed run loses the image it was at, and nothing else; what a later run adds is what the
    first would have made, since an image's masks depend on nothing but the image and its boxes.

    Returns:
        number of images segmented now.

    Raises:
        OSError: an image cannot be read.
        ValueError: another segmenter made the masks that are there.
    """
    folder = workspace.image_folder()
    groups = by_image(workspace.targets())
    waiting = [
        name for name, targets in groups.items() if not is_done(workspace, targets, segmenter)
    ]
    for name in tqdm(waiting, desc="masks", unit="image"):
        image = read_rgb(folder / name)
        workspace.write_masks(image_masks(image, groups[name], segmenter))
    return len(waiting)


def is_done(workspace: Workspace, targets: Sequence[Target], segmenter: Segmenter) -> bool:
    """Whether an image has a mask for each of its targets, by this segmenter."""
    present = workspace.masks(targets[0].image)
    if present is None:
        return False
    if dict(present.segmenter) != dict(segmenter.version):
        raise ValueError(
            f"{workspace.folder}: the masks of {present.image} were made by "
            f"{dict(present.segmenter)}, not {dict(segmenter.version)}; masks of two "
            "segmenters are not mixed: use another --work, or remove the folder masks"
        )
    return {target.target_id for target in targets} <= set(present.masks)


def image_masks(image: np.ndarray, targets: Sequence[Target], segmenter: Segmenter) -> ImageMasks:
    """Masks of one image's targets.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    answers = segmenter.segment(image, [target.box_xyxy for target in targets])
    records = {
        target.target_id: MaskRecord(encoded(answer.mask), answer.predicted_iou, answer.stability)
        for target, answer in zip(targets, answers, strict=True)
    }
    return ImageMasks(targets[0].image, segmenter.version, records)
