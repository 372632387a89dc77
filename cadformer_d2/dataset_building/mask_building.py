"""Masks for every box of a workspace; an interrupted run can be resumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from .images import encode_mask, read_rgb
from .segmenters import Segmenter
from .triplets import Target, group_by_image
from .workspace import ImageMasks, MaskRecord, Workspace


def build_masks(workspace: Workspace, segmenter: Segmenter) -> int:
    """Segment every image of the workspace that has no masks yet, into one file per image.

    A killed run loses only the current image. The masks of an image depend only on the image and
    its boxes, so a resumed run gives the same masks.

    Returns:
        number of images segmented now.

    Raises:
        OSError: an image cannot be read.
        ValueError: the existing masks are from another segmenter.
    """
    folder = workspace.read_image_folder()
    groups = group_by_image(workspace.targets())
    waiting = [
        name for name, targets in groups.items() if not _is_done(workspace, targets, segmenter)
    ]
    for name in tqdm(waiting, desc="masks", unit="image"):
        image = read_rgb(folder / name)
        workspace.write_masks(_segment_image(image, groups[name], segmenter))
    return len(waiting)


def _is_done(workspace: Workspace, targets: Sequence[Target], segmenter: Segmenter) -> bool:
    """Whether an image has a mask for each of its targets, by this segmenter."""
    present = workspace.read_masks(targets[0].image)
    if present is None:
        return False
    if dict(present.segmenter) != dict(segmenter.version):
        raise ValueError(
            f"{workspace.folder}: the masks of {present.image} are from "
            f"{dict(present.segmenter)}, not {dict(segmenter.version)}; masks of two "
            "segmenters cannot be mixed: use another --work, or remove the folder masks"
        )
    return {target.target_id for target in targets} <= set(present.masks)


def _segment_image(
    image: np.ndarray, targets: Sequence[Target], segmenter: Segmenter
) -> ImageMasks:
    """Segment the targets of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    answers = segmenter.segment(image, [target.box_xyxy for target in targets])
    records = {
        target.target_id: MaskRecord(
            encode_mask(answer.mask), answer.predicted_iou, answer.stability
        )
        for target, answer in zip(targets, answers, strict=True)
    }
    return ImageMasks(targets[0].image, segmenter.version, records)
