"""The folder in which the steps of building a dataset leave their results for one another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter
from typing_extensions import TypedDict

from ..atomic_files import write_atomically
from ..data.masks import merge_segmentation
from ..data.plain_files import join_inside, read_json
from ..data.validation import Text, quote, validate
from ..structures import RunLengthMask
from .triplets import GroundedTriplet, ImageName, Target, by_image, group_targets

ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"


def stored_mask(value: Any) -> RunLengthMask:
    """A run-length mask out of a file, sound in itself.

    Raises:
        ValueError: it is none.
    """
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"a mask has size and counts, this is {quote(value)}")
    return merge_segmentation(value, height=size[0], width=size[1])


def named_segmenter(value: Mapping[str, str]) -> Mapping[str, str]:
    """What made masks: a name, and versions.

    Raises:
        ValueError: it has no name.
    """
    if "name" not in value:
        raise ValueError("has no 'name'")
    return value


StoredMask = Annotated[RunLengthMask, PlainValidator(stored_mask)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class MaskRecord:
    """A segmenter's mask of one target, with what the segmenter says of it."""

    mask: StoredMask
    predicted_iou: Share | None  # None where the segmenter predicts none
    stability: Share  # see quality.stability


@dataclass(frozen=True)
class ImageMasks:
    """All masks of one image, and what made them."""

    image: ImageName
    segmenter: Annotated[Mapping[Text, Text], AfterValidator(named_segmenter)]
    masks: Mapping[int, MaskRecord]  # by target id


@dataclass(frozen=True)
class Decision:
    """What an annotator said about one target."""

    verdict: Annotated[str, Field(pattern=f"^({ACCEPTED}|{EDITED}|{REJECTED})$")]
    mask: StoredMask | None  # None where rejected


class _TripletsFile(TypedDict):
    images: Text | None
    triplets: list[GroundedTriplet]


_TRIPLETS, _MASKS = TypeAdapter(_TripletsFile), TypeAdapter(ImageMasks)
_DECISIONS = TypeAdapter(dict[int, Decision])


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
        return self.triplets_file()["triplets"]

    def triplets_file(self) -> _TripletsFile:
        return self.read("triplets.json", _TRIPLETS, made_by="read")

    def targets(self) -> list[Target]:
        return group_targets(self.triplets())

    def image_folder(self) -> Path:
        """
        Raises:
            ValueError: the triplets were read without images.
        """
        folder = self.triplets_file()["images"]
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
        return self.read(self.mask_file(image), _MASKS, made_by="masks")

    def mask_file(self, image: str) -> str:
        return str(join_inside(Path("masks"), f"{image}.json"))

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
            path.stem: self.read(f"decisions/{path.name}", _DECISIONS, made_by="import")
            for path in sorted((self.folder / "decisions").glob("[!.]*.json"))
        }

    # Files

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, default=as_text, indent=1))

    def read(self, name: str, schema: TypeAdapter, *, made_by: str) -> Any:
        """
        Raises:
            FileNotFoundError: a step has not been run yet.
            ValueError: the file is damaged or was changed by hand; the message names the place.
        """
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run the step '{made_by}' first")
        content = read_json(path)
        try:
            return validate(schema, content)
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; remove the file and run the step '{made_by}' again"
            ) from error


def as_text(value: Any) -> str:
    """The counts of a run-length mask, which are bytes, as JSON holds them."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return value.decode("ascii")
