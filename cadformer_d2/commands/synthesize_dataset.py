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

from ..data.annotation_files import read_annotation_files
from ..data.catalog import dataset_root
from ..data.synthetic import SynthrsParameters, generate_synthrs
from ..data.synthetic.generator import ANY_TARGETS_NAME
from ..data.target_counts import count_by_targets
from .any_targets_options import add_any_targets_options, read_any_targets


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
    add_any_targets_options(parser, of="a scene")
    return parser.parse_args()


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
    values = {name: getattr(arguments, name) for name in names}
    parameters = SynthrsParameters(**values, any_targets=read_any_targets(arguments))
    written = generate_synthrs(arguments.root, parameters, overwrite=arguments.overwrite)
    print(_describe(arguments.root / parameters.name) + ("" if written else "\n  (already exists)"))
