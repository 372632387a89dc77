"""SAM and SAM 2 with box prompts, through transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, Sam2Model, Sam2Processor, SamModel, SamProcessor

from ...precision import resolve_device
from ..boxes import box_iou, enclosing_box
from ..triplets import Box
from . import BoxMask

# By the model type in a checkpoint's config; SAM 2's image checkpoints are published as video ones.
FAMILIES: dict[str, tuple[Any, Any]] = {
    "sam": (SamModel, SamProcessor),
    "sam2": (Sam2Model, Sam2Processor),
    "sam2_video": (Sam2Model, Sam2Processor),
}
# SAM's own measure of stability compares the masks at these two distances from its threshold.
STABILITY_OFFSET = 1.0  # logits


class SamSegmenter:
    """Masks of boxes by SAM or SAM 2.

    The image is embedded once for all its boxes. Of three masks per box, the one with the greatest
    product of predicted IoU and agreement with the box (IoU of the box and the mask's box) is used,
    because the predicted IoU alone rates a clean part of an object as high as the whole.
    """

    def __init__(self, *, name: str, device: str = "cpu", boxes_per_pass: int = 32):
        """
        Args:
            name: a folder written by ``save_pretrained``, or a Hugging Face name whose files are in
                the local cache; nothing is downloaded.
            device: cpu, cuda or cuda:N.
            boxes_per_pass: boxes decoded together; more need more memory.

        Raises:
            FileNotFoundError: the files are not on this machine.
            ValueError: they are of another kind of model, or this machine has no such device.
        """
        if boxes_per_pass < 1:
            raise ValueError(f"boxes_per_pass is {boxes_per_pass}; it must be at least 1")
        self.name = name
        self.device = resolve_device(device)
        self.boxes_per_pass = boxes_per_pass
        self.model, self.processor = _load_sam(name)
        self.model.to(self.device).eval()

    @property
    def version(self) -> Mapping[str, str]:
        return {
            "name": self.name,
            "model_type": self.model.config_class.model_type,
            "commit": getattr(self.model.config, "_commit_hash", None) or "",
            "transformers": transformers.__version__,
        }

    @torch.inference_mode()
    def segment(self, image: np.ndarray, boxes: Sequence[Box]) -> list[BoxMask]:
        """See ``Segmenter``."""
        inputs = self.processor(
            images=image, input_boxes=[list(map(list, boxes))], return_tensors="pt"
        )
        pixels = inputs["pixel_values"].to(self.device)
        embeddings = self.model.get_image_embeddings(pixels)
        prompts = inputs["input_boxes"].to(self.device, torch.float32)  # (1, N, 4)
        answers: list[BoxMask] = []
        for chunk in prompts.split(self.boxes_per_pass, dim=1):
            outputs = self.model(
                image_embeddings=embeddings, input_boxes=chunk, multimask_output=True
            )
            logits = self.resize_logits(outputs.pred_masks, inputs)
            chunk_boxes = boxes[len(answers) : len(answers) + chunk.shape[1]]
            answers += choose_masks(logits, outputs.iou_scores[0], chunk_boxes)
        return answers

    def resize_logits(self, masks: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        """Resize the decoder's logits (1, N, 3, h, w) to the image's own size, (N, 3, H, W)."""
        sizes = [inputs["original_sizes"]]
        if "reshaped_input_sizes" in inputs:  # SAM pads the image to a square, SAM 2 does not
            sizes.append(inputs["reshaped_input_sizes"])
        (logits,) = self.processor.post_process_masks(masks.cpu(), *sizes, binarize=False)
        return logits


def _load_sam(name: str) -> tuple[Any, Any]:
    """Load model and processor from a folder or the local cache."""
    try:
        model_type = AutoConfig.from_pretrained(name, local_files_only=True).model_type
        if model_type not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ValueError(f"{name} is a model of type {model_type!r}; known types: {known}")
        model_class, processor_class = FAMILIES[model_type]
        return (
            model_class.from_pretrained(name, local_files_only=True),
            processor_class.from_pretrained(name, local_files_only=True),
        )
    except OSError as error:
        raise FileNotFoundError(
            f"SAM {name!r} is neither a folder nor in the Hugging Face cache of this machine. "
            "facebook/sam-vit-huge and facebook/sam2.1-hiera-large are published at "
            "https://huggingface.co/facebook: download one once ('hf download NAME') or pass a "
            "folder with config.json, preprocessor_config.json and the weights"
        ) from error


def choose_masks(logits: Tensor, predicted: Tensor, boxes: Sequence[Box]) -> Iterator[BoxMask]:
    """Choose the best of each box's masks.

    Args:
        logits: (N, 3, H, W).
        predicted: (N, 3) predicted IoU.
        boxes: N boxes.
    """
    ious = predicted.float().cpu().clamp(0, 1)
    for box_logits, box_ious, box in zip(logits, ious, boxes, strict=True):
        masks = (box_logits > 0).numpy()
        agreement = [box_iou(enclosing_box(mask), box) for mask in masks]
        best = int(np.argmax(box_ious.numpy() * np.array(agreement)))
        yield BoxMask(masks[best], float(box_ious[best]), measure_stability(box_logits[best]))


def measure_stability(logits: Tensor) -> float:
    """IoU of the masks of (H, W) logits at a stricter and a laxer threshold, in [0, 1]."""
    strict = int((logits > STABILITY_OFFSET).sum())
    lax = int((logits > -STABILITY_OFFSET).sum())
    return strict / lax if lax else 0.0
