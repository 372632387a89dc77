"""Build a referring segmentation dataset from boxes and sentences, step by step.

    cadformer dataset build read rsvg-hr --work work --images IMAGES --split train=TRAIN.txt ...
    cadformer dataset build masks --work work --segmenter facebook/sam-vit-huge --device cuda
    cadformer dataset build judge --work work
    cadformer dataset build export --work work --tool labelme --output review_anna
    cadformer dataset build import review_anna --work work --annotator anna
    cadformer dataset build agree --work work
    cadformer dataset build write mydata --work work --root datasets

Each step keeps its results in the folder --work and can be repeated; an interrupted `masks`
resumes. datasets/README.md has an example.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..data.catalog import SPLITS, dataset_root
from ..dataset_building import steps
from ..dataset_building.finishing import KEEP, LEAVE_OUT, REFUSE
from ..dataset_building.quality import DEFAULT_LIMITS
from ..dataset_building.readers import FORMATS
from ..dataset_building.review import TOOLS


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="step", required=True)
    _add_read(commands.add_parser("read", help="boxes and sentences, with a report of defects"))
    _add_masks(commands.add_parser("masks", help="a mask for each box"))
    judge = commands.add_parser("judge", help="measure the masks and list the doubtful")
    judge.set_defaults(run=steps.judge_masks)
    _add_export(commands.add_parser("export", help="doubtful masks to an annotation tool"))
    _add_import(commands.add_parser("import", help="an annotator's answers"))
    agree = commands.add_parser("agree", help="agreement of the annotators, and disputes")
    agree.set_defaults(run=steps.compare_annotators)
    _add_write(commands.add_parser("write", help="the dataset in RefCOCO format"))
    for command in commands.choices.values():
        command.add_argument("--work", type=Path, required=True, help="folder of the results")
    for name in ("judge", "export", "agree", "write"):
        commands.choices[name].add_argument(
            "--limits", type=Path, default=DEFAULT_LIMITS, help="YAML file of quality limits"
        )
    return parser.parse_args()


def _add_read(command: argparse.ArgumentParser) -> None:
    command.add_argument("source_format", metavar="format", choices=FORMATS)
    command.add_argument(
        "--split",
        action="append",
        default=[],
        type=_parse_split,
        metavar="NAME=FILE",
        help=f"file of a split ({', '.join(SPLITS)}); once for each",
    )
    command.add_argument(
        "--annotations", type=Path, help="folder of the XML files (dior-rsvg) or of refs(unc).p"
    )
    images = command.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, help="folder of the images")
    images.add_argument(
        "--image-size",
        type=_parse_positive,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of every image, to report on a source without its images",
    )
    command.set_defaults(run=steps.read_source)


def _parse_split(text: str) -> tuple[str, Path]:
    """Parse NAME=FILE."""
    name, _, file = text.partition("=")
    if name not in SPLITS or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE with NAME in {SPLITS}")
    return name, Path(file)


def _parse_positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _add_masks(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--segmenter",
        required=True,
        help="folder or cached Hugging Face name of a SAM or SAM 2, or 'grabcut' (no weights)",
    )
    command.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    command.add_argument(
        "--boxes-per-pass", type=_parse_positive, default=32, help="more need more memory"
    )
    command.set_defaults(run=steps.make_masks)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tool", choices=sorted(TOOLS), required=True)
    command.add_argument("--output", type=Path, required=True, help="a new folder")
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--all", dest="everything", action="store_true", help="every mask, not the doubtful alone"
    )
    which.add_argument(
        "--disputes", action="store_true", help="masks the annotators disagree about"
    )
    command.add_argument(
        "--undecided-by", metavar="NAME", help="leave out what this annotator has decided already"
    )
    command.add_argument("--most", type=_parse_positive, help="at most so many, the worst")
    command.set_defaults(run=steps.export_masks)


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument("review", type=Path, help="folder that 'export' made")
    command.add_argument("--annotator", required=True, help="a name; 'final' ends disputes")
    command.set_defaults(run=steps.import_answers)


def _add_write(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="of the dataset")
    command.add_argument("--root", type=Path, default=dataset_root())
    command.add_argument(
        "--undecided",
        choices=(REFUSE, KEEP, LEAVE_OUT),
        default=REFUSE,
        help="doubtful masks nobody reviewed, and disputes without a final decision",
    )
    command.add_argument(
        "--split-shares",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="split anew by image, stratified by category, instead of the source's splits",
    )
    command.add_argument("--seed", type=int, default=0, help="of the new split")
    command.add_argument("--allow-leakage", action="store_true", help="an image in several splits")
    command.set_defaults(run=steps.write_dataset)


def main() -> None:
    options = vars(_parse_arguments())
    run = options.pop("run")
    del options["step"]
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    print(run(**options))
