"""Generate the synthrs dataset unless it exists.

    cadformer dataset synthesize
    cadformer dataset synthesize --root big --image-size 480 --style long --train 20000
    cadformer dataset synthesize --any-targets

The last writes gsynthrs: the scenes and refs of synthrs, with refs to several targets and to none
beside them. The same parameters always give the same files.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from ..data.annotation_files import read_annotation_files
from ..data.catalog import dataset_root
from ..data.synthetic import AnyTargets, SynthrsParameters, generate_synthrs
from ..data.synthetic.generator import ANY_TARGETS_NAME
from ..data.target_counts import count_by_targets


def _parse_arguments() -> argparse.Namespace:
    default = SynthrsParameters()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=dataset_root())
    for split in ("train", "val", "test"):
        parser.add_argument(f"--{split}", type=int, default=getattr(default, split), help="scenes")
    parser.add_argument("--image-size", type=int, default=default.image_size, help="pixels")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--style", default=default.style, choices=("short", "long", "mixed"))
    parser.add_argument("--overwrite", action="store_true", help="replace another one there")
    parser.add_argument(
        "--any-targets", action="store_true", help="write gsynthrs, with refs to several or none"
    )
    several = AnyTargets()
    for name, what in (("several", "several targets"), ("absent", "none")):
        given = f"refs of a scene to {what}, with --any-targets (default {getattr(several, name)})"
        parser.add_argument(f"--{name}", type=int, help=given)
    parser.add_argument(
        "--hard-share",
        type=float,
        help="of refs to none, those to a category that is there, with a false place or relation "
        f"(default {several.hard_share})",
    )
    arguments = parser.parse_args()
    if not arguments.any_targets and _any_targets(arguments):
        parser.error("--several, --absent and --hard-share need --any-targets")
    return arguments


def _any_targets(arguments: argparse.Namespace) -> dict[str, Any]:
    """The given options of refs to several targets or none."""
    given = {name: getattr(arguments, name) for name in ("several", "absent", "hard_share")}
    return {name: value for name, value in given.items() if value is not None}


def _describe(folder: Path) -> str:
    """Count refs, expressions and their kinds by split."""
    files = read_annotation_files(folder, any_targets=folder.name == ANY_TARGETS_NAME)
    lines = [f"{folder}: {len(files.images)} images"]
    for split in ("train", "val", "test"):
        refs = [ref for ref in files.refs if ref["split"] == split]
        sentences = [s for ref in refs for s in ref["sentences"]]
        kinds, words = Counter(s["kind"] for s in sentences), [len(s["tokens"]) for s in sentences]
        shares = ", ".join(f"{k} {kinds[k] / len(sentences):.0%}" for k in sorted(kinds))
        counts = count_by_targets(len(ref["ann_ids"]) for ref in refs)
        of = ", ".join(f"{number} {name}" for name, number in counts.items())
        named = "targets" if counts["one target"] == len(refs) else f"refs ({of})"
        lines.append(
            f"  {split:5s} {len(refs):6d} {named}, "
            f"{len(sentences):6d} sentences ({shares}), words {min(words)}-{max(words)}, "
            f"mean {sum(words) / len(words):.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    arguments = _parse_arguments()
    names = ("train", "val", "test", "image_size", "seed", "style")
    several = AnyTargets(**_any_targets(arguments)) if arguments.any_targets else None
    values = {name: getattr(arguments, name) for name in names}
    parameters = SynthrsParameters(**values, any_targets=several)
    written = generate_synthrs(arguments.root, parameters, overwrite=arguments.overwrite)
    print(_describe(arguments.root / parameters.name) + ("" if written else "\n  (already exists)"))
