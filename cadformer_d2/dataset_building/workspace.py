"""The folder in which the steps of building a dataset leave their results for one another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from ..atomic_files import written_whole
from ..data.masks import single_mask
from ..data.plain_files import path_inside, read_json
from ..data.validation import Text, checked
from ..structures import RunLengthMask
from .triplets import GroundedTriplet, Target, by_image, group_targets

ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"


@dataclass(frozen=True)
class MaskRecord:
    """A segmenter's mask of one target, with what the segmenter says of it."""

    mask: RunLengthMask
    predicted_iou: float | None  # in [0, 1]; None where the segmenter predicts none
    stability: float  # in [0, 1], see quality.stability


@dataclass(frozen=True)
class ImageMasks:
    """All masks of one image, and what made them."""

    image: str
    segmenter: Mapping[str, str]  # name and versions
    masks: Mapping[int, MaskRecord]  # by target id


@dataclass(frozen=True)
class Decision:
    """What an annotator said about one target."""

    verdict: str  # accepted, edited or rejected
    mask: RunLengthMask | None  # None where rejected


class Workspace:
    """Reads and writes the files of one folder; every file is written whole or not at all.

    ``triplets.json``, ``masks/<image>.json`` and ``decisions/<annotator>.json`` are read again by
    later steps; ``defects.csv``, ``quality.csv`` and ``disputes.csv`` are for people.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    # Triplets

    def write_triplets(self, triplets: Iterable[GroundedTriplet], images: Path | None) -> None:
        """
        Args:
            images: folder of the image files; None where they are not at hand.
        """
        content = {
            "images": None if images is None else str(images.resolve()),
            "triplets": [asdict(triplet) for triplet in triplets],
        }
        self.write("triplets.json", content)

    def triplets(self) -> list[GroundedTriplet]:
        """
        Raises:
            FileNotFoundError: none were read into this workspace.
        """
        entries = self.read("triplets.json", made_by="read")["triplets"]
        return [GroundedTriplet(**{**e, "box_xyxy": tuple(e["box_xyxy"])}) for e in entries]

    def targets(self) -> list[Target]:
        return group_targets(self.triplets())

    def image_folder(self) -> Path:
        """
        Raises:
            ValueError: the triplets were read without images.
        """
        folder = self.read("triplets.json", made_by="read")["images"]
        if folder is None:
            raise ValueError(
                f"{self.folder}: its triplets were read without images; read them again with "
                "--images FOLDER"
            )
        return Path(folder)

    # Masks

    def write_masks(self, masks: ImageMasks) -> None:
        entries = {str(key): asdict(record) for key, record in masks.masks.items()}
        content = {"image": masks.image, "segmenter": dict(masks.segmenter), "masks": entries}
        self.write(self.mask_file(masks.image), content)

    def masks(self, image: str) -> ImageMasks | None:
        """Masks of an image, or None where there are none yet."""
        if not (self.folder / self.mask_file(image)).is_file():
            return None
        content = self.read(self.mask_file(image), made_by="masks")
        records = {int(key): MaskRecord(**entry) for key, entry in content["masks"].items()}
        return ImageMasks(image, content["segmenter"], records)

    def mask_file(self, image: str) -> str:
        return f"masks/{image}.json"

    def all_masks(self) -> dict[int, MaskRecord]:
        """Masks of every target, by target id.

        Raises:
            FileNotFoundError: a target has none yet.
        """
        found: dict[int, MaskRecord] = {}
        for image, targets in by_image(self.targets()).items():
            masks = self.masks(image)
            missing = [t for t in targets if masks is None or t.target_id not in masks.masks]
            if masks is None or missing:
                raise FileNotFoundError(
                    f"{self.folder}: {len(missing)} targets of {image} have no mask yet; run the "
                    "step 'masks' until it ends"
                )
            found.update({target.target_id: masks.masks[target.target_id] for target in targets})
        return found

    def segmenter(self) -> Mapping[str, str]:
        """What made the masks."""
        for image in by_image(self.targets()):
            masks = self.masks(image)
            if masks is not None:
                return masks.segmenter
        raise FileNotFoundError(f"{self.folder}: has no masks yet; run the step 'masks' first")

    # Decisions

    def write_decisions(self, annotator: str, decisions: Mapping[int, Decision]) -> None:
        """Add an annotator's decisions to those already there; a second one replaces the first."""
        merged = {**self.decisions().get(annotator, {}), **decisions}
        content = {str(key): asdict(decision) for key, decision in sorted(merged.items())}
        self.write(f"decisions/{annotator}.json", content)

    def decisions(self) -> dict[str, dict[int, Decision]]:
        """Decisions by annotator and target id; none where nothing was imported yet."""
        return {
            path.stem: {int(key): Decision(**entry) for key, entry in read_json(path).items()}
            for path in sorted((self.folder / "decisions").glob("[!.]*.json"))
        }

    # Files

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(content, default=as_text, indent=1))

    def read(self, name: str, *, made_by: str) -> Any:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run the step '{made_by}' first")
        return read_json(path)


def as_text(value: Any) -> str:
    """The counts of a run-length mask, which are bytes, as JSON holds them."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return value.decode("ascii")
