"""The program ``cadformer``: its commands by name."""

from __future__ import annotations

import difflib
import importlib
import sys

from ..command_errors import run_command
from ..version import __version__

# Group -> name -> (module beside this one or, with a dot, from the package; what it does). A module
# is imported when its command is called.
COMMANDS = {
    "Train and compare": {
        "train": ("train", "train a config"),
        "evaluate": ("evaluate", "score a checkpoint"),
        "compare": ("compare", "train and score several methods, write one table"),
        "benchmark": ("benchmark", "parameters, FLOPs, time and memory of a config's model"),
    },
    "Use a checkpoint": {
        "predict": ("predict", "masks for images and sentences"),
        "segment-raster": ("segment_raster", "mask and polygons for a georeferenced scene"),
        "segment-scenes": ("segment_scenes", "masks and polygons for many scenes"),
        "compare-rasters": ("compare_rasters", "how far two masks of one scene differ"),
        "app": ("web.app", "a page in the browser"),
        "serve": ("serve", "answers over HTTP, for programs"),
        "export": ("export", "a folder to share, or one file that answers without PyTorch"),
        "compare-exports": ("compare_exports", "how far exported files are from a checkpoint"),
    },
    "Datasets": {
        "dataset check": ("check_dataset", "what is wrong with a download"),
        "dataset describe": ("describe_dataset", "categories, words and sizes of a dataset"),
        "dataset visualize": ("visualize_data", "a picture of what the model is fed"),
        "dataset ceiling": ("measure_ceiling", "what the network's size leaves of the masks"),
        "dataset build": ("build_dataset", "from boxes and sentences to a dataset of your own"),
        "dataset synthesize-expressions": (
            "synthesize_expressions",
            "from instance masks to expressions about them",
        ),
        "dataset synthesize": ("synthesize_dataset", "draw synthrs"),
        "dataset synthesize-scene": ("synthesize_scene", "draw a large georeferenced scene"),
    },
    "Figures": {
        "figure": ("make_figure", "draw predictions of one model or several"),
    },
}
BY_NAME = {name: found for group in COMMANDS.values() for name, found in group.items()}


def main() -> None:
    """Run the command that the arguments name.

    Raises:
        SystemExit: of the command; 2 for a name that is none.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(describe_commands())
        return
    if words[0] == "--version":
        print(__version__)
        return
    call_command(*split_name(words))


def call_command(name: str, arguments: list[str]) -> None:
    """Run a command with these arguments, as its own parser reads them."""
    module, _ = BY_NAME[name]
    place = f"cadformer_d2.{module if '.' in module else f'commands.{module}'}"
    # What the parsers, and Detectron2 in a log's first lines, take for the call.
    sys.argv = [f"cadformer {name}", *arguments]
    run_command(lambda: importlib.import_module(place).main())


def split_name(words: list[str]) -> tuple[str, list[str]]:
    """The command that the first one or two words name, and the words after it.

    Raises:
        SystemExit: 2, with the names nearest to them.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in BY_NAME:
            return name, words[length:]
    asked = " ".join(words[:2] if words[0] == "dataset" else words[:1])
    near = difflib.get_close_matches(asked, BY_NAME, n=3, cutoff=0.4)
    hint = f"; do you mean {' or '.join(near)}?" if near else ""
    print(f"cadformer: there is no command {asked!r}{hint} 'cadformer' lists all", file=sys.stderr)
    raise SystemExit(2)


def describe_commands() -> str:
    """The names and what they do, by group."""
    width = max(map(len, BY_NAME)) + 2
    lines = ["usage: cadformer COMMAND ..., cadformer COMMAND --help", ""]
    for group, commands in COMMANDS.items():
        lines += [group, *(f"  {name:<{width}}{text}" for name, (_, text) in commands.items()), ""]
    return "\n".join(lines).rstrip()
