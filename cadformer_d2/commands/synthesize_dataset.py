"""Generate the synthrs dataset unless it exists.

    cadformer dataset synthesize
    cadformer dataset synthesize --root big --image-size 480 --style long --train 20000

The same parameters always give the same files.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ..data.annotation_files import read_annotation_files
from ..data.catalog import dataset_root
from ..data.synthetic import SynthrsParameters, generate_synthrs


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
    parser.add_argument("--overwrite", action="store_true", help="replace another synthrs there")
    return parser.parse_args()


def _describe(root: Path) -> str:
    """Count targets, expressions and their kinds by split."""
    files = read_annotation_files(root / "synthrs")
    lines = [f"{root / 'synthrs'}: {len(files.images)} images"]
    for split in ("train", "val", "test"):
        sentences = [s for ref in files.refs if ref["split"] == split for s in ref["sentences"]]
        kinds, words = Counter(s["kind"] for s in sentences), [len(s["tokens"]) for s in sentences]
        shares = ", ".join(f"{k} {kinds[k] / len(sentences):.0%}" for k in sorted(kinds))
        lines.append(
            f"  {split:5s} {sum(ref['split'] == split for ref in files.refs):6d} targets, "
            f"{len(sentences):6d} sentences ({shares}), words {min(words)}-{max(words)}, "
            f"mean {sum(words) / len(words):.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    arguments = _parse_arguments()
    names = ("train", "val", "test", "image_size", "seed", "style")
    parameters = SynthrsParameters(**{name: getattr(arguments, name) for name in names})
    written = generate_synthrs(arguments.root, parameters, overwrite=arguments.overwrite)
    print(_describe(arguments.root) + ("" if written else "\n  (already exists)"))
