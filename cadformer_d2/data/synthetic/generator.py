"""Writing synthrs to disk in RRSIS-D's layout."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..class_names import RRSISHR_CLASSES
from ..grammar.any_targets import AnyTargets
from ..grammar.phrasing import write_expression
from ..image_file import encode_image
from ..plain_files import read_json
from ..refer_writer import (
    annotation_entry,
    any_ref_entry,
    category_entries,
    ref_entry,
    sentence_entry,
    write_refer_files,
)
from .any_targets import describe_any_targets
from .drawing import draw_scene
from .expressions import WORDING, choose_descriptions
from .scene import DrawnScene, SceneObject, sample_scene

NAME, ANY_TARGETS_NAME = "synthrs", "gsynthrs"
STAMP = "parameters.json"  # beside the annotations: the parameters of the dataset
SPLITS = ("train", "val", "test")
STYLES = ("short", "long", "mixed")
JPEG_QUALITY = 95
SENTENCES_PER_REF = 3
# Increase when the same parameters give other files, so that old files are regenerated.
FORMAT = 1


@dataclass(frozen=True)
class SynthrsParameters:
    """What determines every byte of the dataset.

    Raises:
        ValueError: a size or count is too small, or the style is unknown.
    """

    train: int = 3000  # scenes
    val: int = 100
    test: int = 300
    image_size: int = 96  # side in pixels
    seed: int = 0
    style: str = "short"  # of the expressions: short, long or mixed
    format: int = FORMAT
    # Refs to several targets or none beside the usual ones; None: no such refs.
    any_targets: AnyTargets | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}; known styles: {', '.join(STYLES)}")
        if self.image_size < 64:
            raise ValueError(f"image size is {self.image_size}; at least 64 pixels are needed")
        if min(self.train, self.val, self.test) < 1:
            raise ValueError("every split needs at least one scene")

    @property
    def name(self) -> str:
        """Of the dataset, which fixes how many targets its refs may have."""
        return NAME if self.any_targets is None else ANY_TARGETS_NAME

    def as_dict(self) -> dict[str, Any]:
        """For the stamp."""
        values = asdict(self)
        if self.any_targets is None:
            del values["any_targets"]
        return values


def generate_synthrs(
    root: Path, parameters: SynthrsParameters, *, overwrite: bool = False, processes: int = 2
) -> bool:
    """Generate the dataset under ``root`` unless the same one is already there.

    Args:
        root: what DETECTRON2_DATASETS names; files go to ``synthrs/`` and ``images/synthrs/``, with
            refs to any number of targets to ``gsynthrs/`` and ``images/gsynthrs/``.
        overwrite: replace a dataset with other parameters.
        processes: number of drawing processes; does not change the result.

    Returns:
        whether anything was written.

    Raises:
        FileExistsError: other data are there, and ``overwrite`` is not set.
        OSError: the dataset cannot be written; existing data stay as they were.
    """
    name = parameters.name
    annotations, images = root / name, root / "images" / name
    if annotations.exists():
        changes = _find_changed_parameters(annotations, parameters)
        if not changes and images.is_dir():
            return False
        if changes and not overwrite:
            raise FileExistsError(
                f"{annotations} has other parameters ({changes}); pass --overwrite to replace it, "
                "or choose another --root"
            )
    scratch = root / f".{name}-unfinished"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        _write_dataset(scratch, parameters, processes)
        # A run killed here leaves either all annotations or none; without them, the next run starts
        # over.
        for finished, part in ((annotations, "annotations"), (images, "images")):
            finished.parent.mkdir(parents=True, exist_ok=True)
            if finished.exists():
                os.replace(finished, scratch / f"old-{part}")
        os.replace(scratch / "images", images)
        os.replace(scratch / "annotations", annotations)
    except (OSError, BrokenProcessPool) as error:
        raise OSError(f"{annotations} could not be written: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def _find_changed_parameters(annotations: Path, parameters: SynthrsParameters) -> str:
    """Say how the parameters of a dataset differ from the wanted ones; empty if they do not."""
    stamp = annotations / STAMP
    if not stamp.is_file():
        return f"there is no {STAMP}, so this program did not write it"
    present, wanted = read_json(stamp), parameters.as_dict()
    if not isinstance(present, dict):
        return f"{STAMP} is damaged"
    changes = {key: present.get(key) for key in wanted if present.get(key) != wanted[key]}
    return str(changes) if changes else ""


def _write_dataset(folder: Path, parameters: SynthrsParameters, processes: int) -> None:
    """Write images and annotation files into ``folder``."""
    jpegs, annotations = folder / "images" / "JPEGImages", folder / "annotations"
    jpegs.mkdir(parents=True)
    annotations.mkdir()
    scenes = [(split, i) for split in SPLITS for i in range(getattr(parameters, split))]
    draw = partial(_make_scene, parameters=parameters, folder=jpegs)
    instances: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": category_entries(RRSISHR_CLASSES),
    }
    refs: list[dict[str, Any]] = []
    # Only this process handles Ctrl-C; the workers end with it silently.
    with ProcessPoolExecutor(
        processes, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        for made in pool.map(draw, scenes, chunksize=32):
            _append_scene(instances, refs, made, parameters=parameters)
    write_refer_files(annotations, refs=refs, instances=instances)
    (annotations / STAMP).write_text(json.dumps(parameters.as_dict(), indent=2))


def _make_scene(
    identity: tuple[str, int], *, parameters: SynthrsParameters, folder: Path
) -> dict[str, Any]:
    """Draw one scene to disk and describe its targets; depends only on its identity."""
    split, index = identity
    seed = [parameters.seed, SPLITS.index(split), index]
    rng = np.random.default_rng(seed)
    while True:
        scene = sample_scene(rng)
        targets = _describe_targets(scene, parameters.style, rng)
        # At least two targets, so that each can be queried with another's expression.
        if len(targets) >= 2:
            break
    if parameters.any_targets is not None:
        # With random numbers of their own, so that everything else is as without them.
        own_rng = np.random.default_rng([*seed, 1])
        targets += describe_any_targets(
            scene, targets, parameters.any_targets, style=parameters.style, rng=own_rng
        )
    image, masks = draw_scene(scene, size=parameters.image_size)
    file_name = f"{split}_{index:05d}.jpg"
    jpeg = encode_image(image, ".jpg", jpeg_quality=JPEG_QUALITY)
    (folder / file_name).write_bytes(jpeg)
    meant = {index for target in targets for index in target["objects"]}
    encoded = {index: coco_mask.encode(np.asfortranarray(masks[index])) for index in meant}
    return {"split": split, "file_name": file_name, "targets": targets, "masks": encoded}


def _describe_targets(
    scene: DrawnScene, style: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Describe the objects that can be singled out, with up to three expressions each."""
    targets = []
    for index, target in enumerate(scene.objects):
        sentences = list(_write_expressions(scene, target, style, rng))
        if sentences:
            found = {"objects": [index], "category": target.category, "sentences": sentences}
            targets.append(found)
    return targets


def _write_expressions(
    scene: DrawnScene, target: SceneObject, style: str, rng: np.random.Generator
) -> Iterator[dict[str, str]]:
    for description in choose_descriptions(scene, target, rng, most=SENTENCES_PER_REF):
        is_long = style == "long" or (style == "mixed" and rng.random() < 0.5)
        sentence = write_expression(
            scene, target, description, long=is_long, wording=WORDING, rng=rng
        )
        yield {"sent": sentence, "kind": description.kind}


def _append_scene(
    instances: dict[str, list],
    refs: list[dict[str, Any]],
    made: dict[str, Any],
    *,
    parameters: SynthrsParameters,
) -> None:
    """Assign ids to a scene's image, targets and sentences and append them to the files."""
    size, annotations = parameters.image_size, instances["annotations"]
    image_id, file_name = len(instances["images"]) + 1, made["file_name"]
    next_sent_id = refs[-1]["sent_ids"][-1] + 1 if refs else 1
    instances["images"].append(
        {"id": image_id, "file_name": file_name, "height": size, "width": size}
    )
    ann_ids: dict[int, int] = {}  # of the scene's objects, by their position in it
    for target in made["targets"]:
        category_id = RRSISHR_CLASSES.index(target["category"]) + 1
        for index in target["objects"]:
            if index not in ann_ids:
                ann_ids[index] = len(annotations) + 1
                mask = made["masks"][index]
                annotations.append(annotation_entry(ann_ids[index], image_id, category_id, mask))
        sentences = [
            {**sentence_entry(next_sent_id + offset, text["sent"]), "kind": text["kind"]}
            for offset, text in enumerate(target["sentences"])
        ]
        next_sent_id += len(sentences)
        common: dict[str, Any] = {
            "split": made["split"],
            "file_name": file_name,
            "sentences": sentences,
        }
        if parameters.any_targets is None:
            refs.append(ref_entry(annotations[-1], **common))
            continue
        meant = [ann_ids[index] for index in target["objects"]]
        common |= {"image_id": image_id, "category_id": category_id}
        refs.append(any_ref_entry(len(refs) + 1, meant, **common))
