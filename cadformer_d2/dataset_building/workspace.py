"""The folder in which the steps of building a dataset keep their results."""

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
from .triplets import GroundedTriplet, ImageName, Target, group_by_image, group_targets

ACCEPTED, EDITED, REJECTED = "accepted", "edited", "rejected"


def _validate_mask(value: Any) -> RunLengthMask:
    """Validate a run-length mask that was read from a file.

    Raises:
        ValueError: it is not one.
    """
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"expected a mask with size and counts, got {quote(value)}")
    return merge_segmentation(value, height=size[0], width=size[1])


def _require_name(value: Mapping[str, str]) -> Mapping[str, str]:
    """Return the segmenter's version if it has a name.

    Raises:
        ValueError: it has no name.
    """
    if "name" not in value:
        raise ValueError("has no 'name'")
    return value


StoredMask = Annotated[RunLengthMask, PlainValidator(_validate_mask)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class MaskRecord:
    """A segmenter's mask of one target, with the segmenter's own confidence."""

    mask: StoredMask
    predicted_iou: Share | None  # None if the segmenter predicts none
    stability: Share  # see quality.stability


@dataclass(frozen=True)
class ImageMasks:
    """All masks of one image and their segmenter."""

    image: ImageName
    segmenter: Annotated[Mapping[Text, Text], AfterValidator(_require_name)]
    masks: Mapping[int, MaskRecord]  # by target id


@dataclass(frozen=True)
class Decision:
    """An annotator's decision about one target."""

    verdict: Annotated[str, Field(pattern=f"^({ACCEPTED}|{EDITED}|{REJECTED})$")]
    mask: StoredMask | None  # None if rejected


class _TripletsFile(TypedDict):
    images: Text | None
    triplets: list[GroundedTriplet]


_TRIPLETS, _MASKS = TypeAdapter(_TripletsFile), TypeAdapter(ImageMasks)
_DECISIONS = TypeAdapter(dict[int, Decision])


class Workspace:
    """Reads and writes the files of one folder; every file is written atomically.

    Later steps read ``triplets.json``, ``masks/<image>.json`` and ``decisions/<annotator>.json``;
    ``defects.csv``, ``quality.csv`` and ``disputes.csv`` are for people.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    # Triplets

    def write_triplets(self, triplets: Iterable[GroundedTriplet], images: Path | None) -> None:
        """
        Args:
            images: folder of the image files; None if they are not available.
        """
        content = {
            "images": None if images is None else str(images.resolve()),
            "triplets": [asdict(triplet) for triplet in triplets],
        }
        self._write("triplets.json", content)

    def read_triplets(self) -> list[GroundedTriplet]:
        """
        Raises:
            FileNotFoundError: the step 'read' has not been run.
        """
        return self._read_triplets_file()["triplets"]

    def _read_triplets_file(self) -> _TripletsFile:
        return self._read("triplets.json", _TRIPLETS, made_by="read")

    def targets(self) -> list[Target]:
        return group_targets(self.read_triplets())

    def read_image_folder(self) -> Path:
        """
        Raises:
            ValueError: the triplets were read without images.
        """
        folder = self._read_triplets_file()["images"]
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
        self._write(self._mask_file(masks.image), content)

    def read_masks(self, image: str) -> ImageMasks | None:
        """Masks of an image, or None if there are none yet."""
        if not (self.folder / self._mask_file(image)).is_file():
            return None
        return self._read(self._mask_file(image), _MASKS, made_by="masks")

    def _mask_file(self, image: str) -> str:
        return str(join_inside(Path("masks"), f"{image}.json"))

    def read_all_masks(self) -> dict[int, MaskRecord]:
        """Masks of every target, by target id.

        Raises:
            FileNotFoundError: a target has none yet.
        """
        found: dict[int, MaskRecord] = {}
        for image, targets in group_by_image(self.targets()).items():
            masks = self.read_masks(image)
            missing = [t for t in targets if masks is None or t.target_id not in masks.masks]
            if masks is None or missing:
                raise FileNotFoundError(
                    f"{self.folder}: {len(missing)} targets of {image} have no mask yet; run the "
                    "step 'masks' until it ends"
                )
            found.update({target.target_id: masks.masks[target.target_id] for target in targets})
        return found

    def read_segmenter(self) -> Mapping[str, str]:
        """The version of the segmenter that made the masks."""
        for image in group_by_image(self.targets()):
            masks = self.read_masks(image)
            if masks is not None:
                return masks.segmenter
        raise FileNotFoundError(f"{self.folder}: has no masks yet; run the step 'masks' first")

    # Decisions

    def write_decisions(self, annotator: str, decisions: Mapping[int, Decision]) -> None:
        """Add an annotator's decisions to the existing ones; a new one replaces an old one."""
        merged = {**self.read_decisions().get(annotator, {}), **decisions}
        content = {str(key): asdict(decision) for key, decision in sorted(merged.items())}
        self._write(f"decisions/{annotator}.json", content)

    def read_decisions(self) -> dict[str, dict[int, Decision]]:
        """Decisions by annotator and target id; empty before the first import."""
        return {
            path.stem: self._read(f"decisions/{path.name}", _DECISIONS, made_by="import")
            for path in sorted((self.folder / "decisions").glob("[!.]*.json"))
        }

    # Files

    def _write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, default=encode_counts, indent=1))

    def _read(self, name: str, schema: TypeAdapter, *, made_by: str) -> Any:
        """
        Raises:
            FileNotFoundError: a step has not been run yet.
            ValueError: the file is damaged or was edited wrongly; the message names the place.
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


def encode_counts(value: Any) -> str:
    """Encode the counts of a run-length mask, which are bytes, for JSON."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return value.decode("ascii")
