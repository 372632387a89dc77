"""Write a referring dataset from instance masks: expressions for what a COCO file outlines.

    cadformer dataset synthesize-expressions vhr10 --instances annotations.json --images images \\
        --not-exhaustive vehicle
    cadformer dataset synthesize-expressions vhr10_any ... --any-targets

Each expression singles out one object, with margins, and the masks agree. datasets/README.md has
recipes for public datasets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.catalog import dataset_root
from ..dataset_building.from_instances.expressions import SynthesisOptions
from ..dataset_building.from_instances.synthesis import Splits, synthesize_expressions
from .any_targets_options import add_any_targets_options, read_any_targets


def parse_arguments() -> argparse.Namespace:
    options, splits = SynthesisOptions(), Splits()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the dataset that is made")
    parser.add_argument("--instances", type=Path, required=True, help="COCO instance file")
    parser.add_argument("--images", type=Path, required=True, help="folder of its images")
    parser.add_argument("--root", type=Path, default=dataset_root())
    parser.add_argument(
        "--not-exhaustive",
        nargs="+",
        default=[],
        metavar="CATEGORY",
        help="categories of which not every object is outlined: nothing is said that relies on it",
    )
    parser.add_argument(
        "--most", type=int, default=options.most_expressions, help="expressions of one target"
    )
    parser.add_argument(
        "--long-share",
        type=float,
        default=options.long_share,
        help="of the expressions that say more than is needed",
    )
    parser.add_argument(
        "--least-area", type=float, default=options.least_area, help="of a target, in images"
    )
    parser.add_argument(
        "--split-shares",
        type=float,
        nargs=3,
        default=splits.shares,
        metavar=("TRAIN", "VAL", "TEST"),
    )
    parser.add_argument(
        "--block",
        type=int,
        default=splits.block,
        help="neighbouring file numbers that share a split",
    )
    parser.add_argument(
        "--split-file", type=Path, help='JSON instead: {"train": [names], "val": ..., "test": ...}'
    )
    parser.add_argument("--seed", type=int, default=0, help="of the words and of the split")
    add_any_targets_options(parser, of="an image")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print(
        synthesize_expressions(
            arguments.root,
            arguments.name,
            instances=arguments.instances,
            images=arguments.images,
            not_exhaustive=arguments.not_exhaustive,
            options=SynthesisOptions(
                most_expressions=arguments.most,
                long_share=arguments.long_share,
                least_area=arguments.least_area,
                seed=arguments.seed,
            ),
            splits=Splits(
                shares=tuple(arguments.split_shares),
                block=arguments.block,
                seed=arguments.seed,
                file=arguments.split_file,
            ),
            any_targets=read_any_targets(arguments),
        )
    )
