"""The evaluator of referring segmentation in Detectron2's protocol."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from pycocotools import mask as coco_mask
from tabulate import tabulate
from torch import Tensor

from ..atomic_files import replace_atomically
from ..structures import ModelInput, mask_to_json
from .metrics import (
    SampleScore,
    bootstrap_intervals,
    group_scores,
    interval_metric_names,
    is_generalized,
    metric_names,
    summarize,
    table_metric_names,
)

logger = logging.getLogger(__name__)

TASK = "referring_seg"


class ReferringSegmentationEvaluator(DatasetEvaluator):
    """Compares predicted masks with the run-length masks that come with the inputs.

    Per sample it keeps counts, ids and the run-length encoded prediction, never a mask.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        class_names: list[str],
        output_dir: str | None,
        empty_iou: float,
        eval_resolution: str,
    ):
        """
        Args:
            dataset_name: appears in the log and in file names.
            class_names: of the contiguous category ids.
            output_dir: folder for predictions and metrics; None: write nothing.
            empty_iou: IoU of a sample with a target whose mask and prediction are both empty, in
                [0, 1].
            eval_resolution: TEST.EVAL_RESOLUTION of the test mapper, for the log.
        """
        self.dataset_name = dataset_name
        self.class_names = class_names
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.empty_iou = empty_iou
        self.eval_resolution = eval_resolution
        self.samples: list[dict[str, Any]] = []

    def reset(self) -> None:
        self.samples = []

    def process(self, inputs: list[ModelInput], outputs: list[dict[str, Tensor]]) -> None:
        """
        Args:
            inputs: the mapper's samples with ``gt_rle``.
            outputs: {"sem_seg": (2, height, width)} each; the target is where channel 1 is larger.

        Raises:
            ValueError: a prediction and its ground truth have different sizes.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            background, target = output["sem_seg"]
            predicted = (target > background).to("cpu", torch.uint8).numpy()
            truth = sample["gt_rle"]
            if list(predicted.shape) != list(truth["size"]):
                raise ValueError(
                    f"{sample['file_name']} (ref {sample['ref_id']}): the prediction is "
                    f"{list(predicted.shape)} (height, width), the ground truth {truth['size']}"
                )
            self.samples.append(_score_sample(sample, predicted))

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """
        Returns:
            {"referring_seg": metrics in percent} on the main process, {} on the others.

        Raises:
            ValueError: nothing was evaluated.
        """
        gathered = comm.gather(self.samples)
        if not comm.is_main_process():
            return OrderedDict()
        samples = _drop_duplicates(list(chain(*gathered)))
        if not samples:
            raise ValueError(f"{self.dataset_name}: no sample was evaluated")
        scores = [sample["score"] for sample in samples]
        metrics = summarize(scores, empty_iou=self.empty_iou)
        metrics |= bootstrap_intervals(scores, empty_iou=self.empty_iou)
        generalized = is_generalized(scores)
        groups = {
            grouping: {
                name: summarize(members, empty_iou=self.empty_iou, generalized=generalized)
                | {"samples": len(members)}
                for name, members in by_name.items()
            }
            for grouping, by_name in group_scores(scores, class_names=self.class_names).items()
        }
        for kind, values in groups.get("kind", {}).items():
            name = "mIoU" if "mIoU" in values else "N-acc"  # of expressions without a target
            metrics[f"{name}_{kind}"] = values[name]
        metrics["num_samples"] = float(len(samples))
        self._log(metrics, groups)
        self._write(metrics, groups, samples)
        return OrderedDict({TASK: metrics})

    def _log(self, metrics: dict[str, float], groups: dict[str, dict[str, dict]]) -> None:
        size = "the network's input size" if self.eval_resolution == "input" else "the image's size"
        names, columns, with_interval = (
            [name for name in known() if name in metrics]
            for known in (metric_names, table_metric_names, interval_metric_names)
        )
        intervals = [
            f"{name} {metrics[f'{name}_low']:.2f} - {metrics[f'{name}_high']:.2f}"
            for name in with_interval
        ]
        logger.info(
            "%s: %d samples, scored at %s, IoU of two empty masks %g\n%s\n95 %% intervals: %s",
            self.dataset_name,
            metrics["num_samples"],
            size,
            self.empty_iou,
            tabulate([[metrics[name] for name in names]], names, floatfmt=".2f"),
            ", ".join(intervals),
        )
        for grouping, by_name in groups.items():
            rows = [
                [name, values["samples"], *(values.get(column) for column in columns)]
                for name, values in sorted(by_name.items())
            ]
            header = [f"by {grouping}", "samples", *columns]
            logger.info("\n%s", tabulate(rows, header, floatfmt=".2f"))

    def _write(
        self,
        metrics: dict[str, float],
        groups: dict[str, dict[str, dict]],
        samples: list[dict[str, Any]],
    ) -> None:
        if self.output_dir is None:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        header: dict[str, Any] = {
            "dataset": self.dataset_name,
            "eval_resolution": self.eval_resolution,
            "empty_iou": self.empty_iou,
        }
        predictions = [_describe_sample(sample, self.empty_iou) for sample in samples]
        contents: dict[str, dict[str, Any]] = {
            "metrics": metrics | {"groups": groups},
            "predictions": {"samples": predictions},
        }
        for name, content in contents.items():
            with replace_atomically(self.output_dir / f"{name}_{self.dataset_name}.json") as path:
                path.write_text(json.dumps(header | content))


def _score_sample(sample: ModelInput, predicted: np.ndarray) -> dict[str, Any]:
    """Count one sample's pixels; returns counts, ids and the encoded prediction."""
    encoded = coco_mask.encode(np.asfortranarray(predicted))
    truth = sample["gt_rle"]
    target_area, predicted_area = int(coco_mask.area(truth)), int(coco_mask.area(encoded))
    intersection = int(coco_mask.area(coco_mask.merge([truth, encoded], intersect=True)))
    score = SampleScore(
        image_id=sample["image_id"],
        ref_id=sample["ref_id"],
        sent_id=sample["sent_id"],
        intersection=intersection,
        union=target_area + predicted_area - intersection,
        target_area=target_area,
        image_area=predicted.size,
        num_words=len(sample["expression"].split()),
        category_id=sample["category_id"],
        kind=sample.get("sentence_kind"),
        num_targets=sample.get("num_targets", 1),
    )
    return {
        "score": score,
        "file_name": sample["file_name"],
        "expression": sample["expression"],
        "prediction": encoded,
        "target": truth,
    }


def _drop_duplicates(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort samples by id; keep one of those that two processes scored."""
    by_id = {(s["score"].ref_id, s["score"].sent_id): s for s in samples}
    return [by_id[key] for key in sorted(by_id)]


def _describe_sample(sample: dict[str, Any], empty_iou: float) -> dict[str, Any]:
    """One entry of the predictions file."""
    return {
        **asdict(sample["score"]),
        "iou": sample["score"].iou(empty_iou),
        "file_name": sample["file_name"],
        "expression": sample["expression"],
        "prediction": mask_to_json(sample["prediction"]),
        "target": mask_to_json(sample["target"]),
    }
