"""Checks of output files, so that no file of the user is overwritten by accident.

An existing file is replaced only if the user asks for it, and only by a file of the same kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from .mask_file import NODATA

MASK_ENDINGS = (".tif", ".tiff")
# Files beside a raster from which GDAL reads its georeference, overviews and validity; leftovers of
# another raster would falsify the new one.
BESIDE_A_RASTER = (
    *("{name}.aux.xml", "{name}.ovr", "{name}.msk", "{stem}.aux", "{stem}.tfw"),
    *("{stem}.tifw", "{stem}.wld", "{stem}.TFW", "{stem}.tab"),
)
# Beside a GeoPackage that another program has open or did not close.
OF_AN_OPEN_DATABASE = ("{name}-wal", "{name}-shm", "{name}-journal")
START_BYTES = 64


def refuse_unsafe_outputs(
    outputs: Sequence[Path], *, inputs: Sequence[Path], overwrite: bool
) -> None:
    """Raise unless all outputs can be written safely.

    Args:
        outputs: masks (.tif) and vectors (.geojson, .gpkg) to write.
        inputs: files that are read.
        overwrite: whether to replace files of the same kind and their side files.

    Raises:
        ValueError: an output is an input, a folder, another output, a file of another kind, open in
            another program, or exists already.
        OSError: an output cannot be written.
    """
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ValueError(f"{outputs[0]} is given for two outputs")
    for path in outputs:
        if path.resolve() in {source.resolve() for source in inputs}:
            raise ValueError(f"{path} is an input of this command; it would be overwritten")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a file name in it")
        _refuse_open_database(path)
        if path.exists():
            _refuse_replacing(path, overwrite=overwrite)
        leftovers = _find_files_beside(path)
        if leftovers and not overwrite:
            raise ValueError(
                f"{leftovers[0]} is left over from another file of that name and would change how "
                f"{path.name} is read; remove it, or add --overwrite"
            )
        _refuse_unwritable(path)


def _refuse_open_database(path: Path) -> None:
    found = _find_existing(path, OF_AN_OPEN_DATABASE)
    if found and path.suffix == ".gpkg":
        raise ValueError(
            f"{path} is open in another program, or was not closed properly ({found[0].name} "
            "exists); close it there, or open and close it once"
        )


def _refuse_replacing(path: Path, *, overwrite: bool) -> None:
    if not _is_own_format(path):
        raise ValueError(
            f"{path} exists and is not a file that this command writes; choose another name"
        )
    if not overwrite:
        stays = "; its other layers stay" if path.suffix == ".gpkg" else ""
        raise ValueError(f"{path} already exists; add --overwrite to replace it{stays}")


def _is_own_format(path: Path) -> bool:
    """Whether a file is a mask with values for "no data", a feature collection or a GeoPackage."""
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if path.suffix == ".gpkg":
        return start.startswith(b"SQLite format 3\0")
    if path.suffix == ".geojson":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return False
        return isinstance(content, dict) and content.get("type") == "FeatureCollection"
    try:
        with rasterio.open(path) as dataset:
            return dataset.count == 1 and dataset.dtypes[0] == "uint8" and dataset.nodata == NODATA
    except RasterioError:
        return False


def _refuse_unwritable(path: Path) -> None:
    """Raise OSError now, not after hours of work, if a file cannot be written."""
    probe = path.with_name(f".unfinished-probe-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError as error:
        if path.parent.is_dir():
            probe.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error


def remove_leftovers_beside(path: Path) -> None:
    """Remove the side files of a file that an output replaces."""
    for leftover in _find_files_beside(path):
        leftover.unlink()


def _find_files_beside(path: Path) -> list[Path]:
    return _find_existing(path, BESIDE_A_RASTER) if path.suffix in MASK_ENDINGS else []


def _find_existing(path: Path, patterns: Sequence[str]) -> list[Path]:
    names = [pattern.format(name=path.name, stem=path.stem) for pattern in patterns]
    return [path.with_name(name) for name in names if path.with_name(name).exists()]
