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
from ..grammar.phrasing import write_expression
from ..image_file import encode_image
from ..plain_files import read_json
from ..refer_writer import (
    annotation_entry,
    category_entries,
    ref_entry,
    sentence_entry,
    write_refer_files,
)
from .drawing import draw_scene
from .expressions import WORDING, choose_descriptions
from .scene import DrawnScene, SceneObject, sample_scene

NAME = "synthrs"
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

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style is {self.style!r}; known styles: {', '.join(STYLES)}")
        if self.image_size < 64:
            raise ValueError(f"image size is {self.image_size}; at least 64 pixels are needed")
        if min(self.train, self.val, self.test) < 1:
            raise ValueError("every split needs at least one scene")


def generate_synthrs(
    root: Path, parameters: SynthrsParameters, *, overwrite: bool = False, processes: int = 2
) -> bool:
    """Generate the dataset under ``root`` unless the same one is already there.

    Args:
        root: what DETECTRON2_DATASETS names; files go to ``synthrs/`` and ``images/synthrs/``.
        overwrite: replace a dataset with other parameters.
        processes: number of drawing processes; does not change the result.

    Returns:
        whether anything was written.

    Raises:
        FileExistsError: other data are there, and ``overwrite`` is not set.
        OSError: the dataset cannot be written; existing data stay as they were.
    """
    annotations, images = root / NAME, root / "images" / NAME
    if annotations.exists():
        changes = _find_changed_parameters(annotations, parameters)
        if not changes and images.is_dir():
            return False
        if changes and not overwrite:
            raise FileExistsError(
                f"{annotations} has other parameters ({changes}); pass --overwrite to replace it, "
                "or choose another --root"
            )
    scratch = root / f".{NAME}-unfinished"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        _write_dataset(scratch, parameters, processes)
        # A run killed here leaves either all annotations or none; without them, the next run starts
        # over.
        for finished, name in ((annotations, "annotations"), (images, "images")):
            finished.parent.mkdir(parents=True, exist_ok=True)
            if finished.exists():
                os.replace(finished, scratch / f"old-{name}")
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
    present, wanted = read_json(stamp), asdict(parameters)
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
            _append_scene(instances, refs, made, size=parameters.image_size)
    write_refer_files(annotations, refs=refs, instances=instances)
    (annotations / STAMP).write_text(json.dumps(asdict(parameters), indent=2))


def _make_scene(
    identity: tuple[str, int], *, parameters: SynthrsParameters, folder: Path
) -> dict[str, Any]:
    """Draw one scene to disk and describe its targets; depends only on its identity."""
    split, index = identity
    rng = np.random.default_rng([parameters.seed, SPLITS.index(split), index])
    while True:
        scene = sample_scene(rng)
        targets = _describe_targets(scene, parameters.style, rng)
        # At least two targets, so that each can be queried with another's expression.
        if len(targets) >= 2:
            break
    image, masks = draw_scene(scene, size=parameters.image_size)
    file_name = f"{split}_{index:05d}.jpg"
    jpeg = encode_image(image, ".jpg", jpeg_quality=JPEG_QUALITY)
    (folder / file_name).write_bytes(jpeg)
    targets = [
        {**target, "mask": coco_mask.encode(np.asfortranarray(masks[target["object"]]))}
        for target in targets
    ]
    return {"split": split, "file_name": file_name, "targets": targets}


def _describe_targets(
    scene: DrawnScene, style: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Describe the objects that can be singled out, with up to three expressions each."""
    targets = []
    for index, target in enumerate(scene.objects):
        sentences = list(_write_expressions(scene, target, style, rng))
        if sentences:
            targets.append({"object": index, "category": target.category, "sentences": sentences})
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
    instances: dict[str, list], refs: list[dict[str, Any]], made: dict[str, Any], *, size: int
) -> None:
    """Assign ids to a scene's image, targets and sentences and append them to the files."""
    image_id, file_name = len(instances["images"]) + 1, made["file_name"]
    next_sent_id = refs[-1]["sent_ids"][-1] + 1 if refs else 1
    instances["images"].append(
        {"id": image_id, "file_name": file_name, "height": size, "width": size}
    )
    for target in made["targets"]:
        category_id = RRSISHR_CLASSES.index(target["category"]) + 1
        annotation = annotation_entry(len(refs) + 1, image_id, category_id, target["mask"])
        instances["annotations"].append(annotation)
        sentences = [
            {**sentence_entry(next_sent_id + offset, text["sent"]), "kind": text["kind"]}
            for offset, text in enumerate(target["sentences"])
        ]
        next_sent_id += len(sentences)
        refs.append(
            ref_entry(annotation, split=made["split"], file_name=file_name, sentences=sentences)
        )
