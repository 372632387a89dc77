"""Which files a map may be written to: nothing of the user's is replaced unasked.

An existing file is replaced only when the user says so, and only where it is what will be written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from .mask_file import NODATA

MASK_ENDINGS = (".tif", ".tiff")
# Files beside a raster in which GDAL looks for its place, its overviews and its validity; left over
# from another raster they misplace or misread the new one.
BESIDE_A_RASTER = (
    *("{name}.aux.xml", "{name}.ovr", "{name}.msk", "{stem}.aux", "{stem}.tfw"),
    *("{stem}.tifw", "{stem}.wld", "{stem}.TFW", "{stem}.tab"),
)
# Of a GeoPackage that another program has open, or left without finishing.
OF_AN_OPEN_DATABASE = ("{name}-wal", "{name}-shm", "{name}-journal")
START_BYTES = 64


def refuse_unsafe_outputs(
    outputs: Sequence[Path], *, inputs: Sequence[Path], overwrite: bool
) -> None:
    """
    Args:
        outputs: masks (.tif) and vectors (.geojson, .gpkg) to be written.
        inputs: files that are read.
        overwrite: whether files of the same kind may be replaced, with what lies beside them.

    Raises:
        ValueError: an output is an input, a folder, another output, something of another kind, open
            in another program, or there already.
        OSError: one cannot be written.
    """
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ValueError(f"{outputs[0]} is named for two outputs")
    for path in outputs:
        if path.resolve() in {source.resolve() for source in inputs}:
            raise ValueError(f"{path} is read by this command; it would be overwritten")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file in it")
        refuse_open_database(path)
        if path.exists():
            refuse_replacing(path, overwrite=overwrite)
        leftovers = files_beside(path)
        if leftovers and not overwrite:
            raise ValueError(
                f"{leftovers[0]} is left over from another file of that name and would change how "
                f"{path.name} is read; remove it, or add --overwrite"
            )
        refuse_unwritable(path)


def refuse_open_database(path: Path) -> None:
    found = existing(path, OF_AN_OPEN_DATABASE)
    if found and path.suffix == ".gpkg":
        raise ValueError(
            f"{path} is open in another program, or one ended without closing it ({found[0].name} "
            "is there); close it there, or open and close it once"
        )


def refuse_replacing(path: Path, *, overwrite: bool) -> None:
    if not is_of_our_kind(path):
        raise ValueError(
            f"{path} is there and is no file that this command writes; choose another name"
        )
    if not overwrite:
        stays = "; its other layers stay" if path.suffix == ".gpkg" else ""
        raise ValueError(f"{path} is there already; add --overwrite to replace it{stays}")


def is_of_our_kind(path: Path) -> bool:
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


def refuse_unwritable(path: Path) -> None:
    """Raise OSError, naming the file; now, not after hours of work."""
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
    """Remove what lies beside an output and belongs to the file that it replaces."""
    for leftover in files_beside(path):
        leftover.unlink()


def files_beside(path: Path) -> list[Path]:
    return existing(path, BESIDE_A_RASTER) if path.suffix in MASK_ENDINGS else []


def existing(path: Path, patterns: Sequence[str]) -> list[Path]:
    names = [pattern.format(name=path.name, stem=path.stem) for pattern in patterns]
    return [path.with_name(name) for name in names if path.with_name(name).exists()]
