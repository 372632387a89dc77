"""Imports inside the package go one way; this is the whole law."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cadformer_d2"
ALLOWED = {
    "atomic_files": set(),
    "command_errors": set(),
    "resampling": set(),
    "structures": set(),
    "config": set(),
    "plain_yaml": set(),
    "config_file": {"plain_yaml"},
    "config_schema": set(),
    "library_errors": set(),
    "checkpoint_file": {"library_errors"},
    "pretrained_folder": {
        *("atomic_files", "checkpoint_file", "model_folder", "package_files", "version"),
    },
    # Modeling asks it whether the network that it builds has run before.
    "unset_model": set(),
    "checkpoint": {
        *("pretrained_folder",),
        *("atomic_files", "checkpoint_file", "config", "config_file", "config_schema"),
        *("plain_yaml", "swin_release", "package_files", "data"),
    },
    "precision": set(),
    "version": set(),
    "package_files": set(),
    "model_folder": {"package_files"},
    "exported_model": set(),
    "layers": {"structures"},
    "data": {
        *("structures", "resampling", "package_files", "model_folder", "checkpoint_file"),
        "library_errors",
    },
    "evaluation": {"structures", "atomic_files"},
    "visualization": {"structures", "resampling", "atomic_files", "data"},
    "model_cost": {"structures"},
    "modeling": {
        *("structures", "layers", "checkpoint_file", "library_errors", "package_files"),
        *("model_folder", "unset_model"),
    },
    # Reads and writes the datasets' own format and draws masks: the code for that is not copied.
    "dataset_building": {
        *(
            "structures",
            "atomic_files",
            "plain_yaml",
            "precision",
            "data",
            "visualization",
            "version",
        ),
    },
    # Handed a model, or told by a checkpoint which one Detectron2 shall build.
    "inference": {
        *("structures", "precision", "data", "checkpoint", "atomic_files", "pretrained_folder"),
        *("unset_model", "exported_model", "resampling", "library_errors"),
    },
    # From a predictor's model to a file.
    "deployment": {
        *("structures", "atomic_files", "library_errors", "version", "exported_model"),
        "inference",
    },
    "engine": {
        *("structures", "config", "config_file", "config_schema", "precision", "checkpoint"),
        "command_errors",
        *("data", "modeling", "evaluation"),
    },
    "benchmark": {
        *("structures", "precision", "data", "engine", "model_cost", "layers", "modeling"),
    },
    "web": {"atomic_files", "command_errors", "checkpoint", "data", "inference", "visualization"},
    "scenes": {
        *("atomic_files", "command_errors", "inference", "library_errors"),
        "version",
    },
    "serving": {"data", "inference", "version", "web"},
    # On top of all: what is called from a shell.
    "commands": {
        *("atomic_files", "benchmark", "checkpoint", "command_errors", "config", "data"),
        *("dataset_building", "engine", "evaluation", "inference", "model_cost", "precision"),
        *("resampling", "structures", "version", "visualization", "pretrained_folder"),
        *("scenes", "deployment", "serving", "exported_model"),
    },
    "__init__": {"modeling", "config", "version"},
    "__main__": {"commands"},
}


def imported_parts(path):
    """Top-level parts of the package that a file imports."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (name.split(".")[0] for name in names)
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert not (node.module or "").startswith("cadformer_d2"), f"{path}: import relatively"


def test_imports_go_one_way():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if others := set(imported_parts(path)) - ALLOWED[part] - {part}:
            wrong.append(f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(others))}")
    assert not wrong, "\n".join(wrong)


IMPORTS = """
import json, sys
import cadformer_d2
print(json.dumps(sorted(sys.modules)))
from cadformer_d2.inference import RefSegPredictor
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def imported():
    """Names of all modules of a fresh Python: with the package, then with the predictor too."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [json.loads(line) for line in output.splitlines()[-2:]]


def modules_among(modules, parts):
    return [
        name
        for name in modules
        if any(name == part or name.startswith(f"{part}.") for part in parts)
    ]


def test_a_predictor_imports_neither_painter_nor_datasets_nor_scoring(imported):
    _, modules = imported
    unwanted = (
        *("data.synthetic", "data.catalog", "data.refer", "data.refsegrs", "data.annotation_files"),
        *("data.plain_pickle", "data.mapper", "data.loading", "dataset_building", "evaluation"),
        *("engine", "benchmark", "commands", "web", "visualization"),
    )
    assert not modules_among(modules, [f"cadformer_d2.{part}" for part in unwanted])
    extras = ("rasterio", "shapely", "gradio", "matplotlib.pyplot")
    assert not modules_among(modules, extras)


def test_a_predictor_imports_few_modules_of_ours(imported):
    _, modules = imported
    assert len(modules_among(modules, ["cadformer_d2"])) <= 87  # 42 are the model's


def test_importing_the_package_waits_for_no_library_of_networks(imported):
    """They take longer than Detectron2, and a config says whether they are needed."""
    modules, _ = imported
    assert not modules_among(modules, ("transformers", "timm", "pydantic", "scipy", "pandas"))
    assert "cadformer_d2.modeling.text_encoder.hugging_face" in modules  # its name resolves
