"""Scenes as a user names them: files, globs, lists of them, URLs."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..inference.named_url import NamedUrl, is_url

LIST_ENDING = ".txt"
STAC_ENDINGS = (".json", ".geojson")


@dataclass(frozen=True)
class SceneSource:
    """Where a scene is, and what is known of it before it is opened."""

    location: str  # a path or a URL
    time: str = ""  # of the image, ISO 8601; "": ask the file
    bands: tuple[int, ...] | None = None  # of red, green and blue, from 1; None: as the job says

    @property
    def path(self) -> Path | NamedUrl:
        return NamedUrl(self.location) if is_url(self.location) else Path(self.location)

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        name = urlsplit(self.location).path if is_url(self.location) else self.location
        return PurePosixPath(name).stem


StacReader = Callable[[str], Iterable[SceneSource]]


def find_sources(words: Iterable[str], read_stac: StacReader) -> list[SceneSource]:
    """The scenes that words of a command line name, each once, in their order.

    A word is a path, a glob, a .txt file with a word a line ("#" begins a comment, paths are
    relative to the file), the URL of a GeoTIFF, or the path or URL of a STAC document (.json,
    .geojson).

    Raises:
        ValueError: a glob without a file, a folder, or no scene at all.
        OSError: a list cannot be read.
    """
    found: dict[str, SceneSource] = {}
    for word in words:
        for source in _read_word(word, Path(), read_stac):
            found.setdefault(source.location, source)
    if not found:
        raise ValueError("no scene is named: the lists are empty")
    return list(found.values())


def _read_word(word: str, folder: Path, read_stac: StacReader) -> Iterator[SceneSource]:
    """
    Args:
        folder: to which paths are relative.
    """
    is_remote = is_url(word)
    place = word if is_remote else str(folder / word)
    ending = PurePosixPath(urlsplit(word).path if is_remote else word).suffix.lower()
    if ending in STAC_ENDINGS:
        yield from read_stac(place)
    elif is_remote:
        yield SceneSource(word)
    elif glob.has_magic(word) and not Path(place).exists():
        yield from _match(place, read_stac)
    elif ending == LIST_ENDING:
        for line in Path(place).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield from _read_word(line.strip(), Path(place).parent, read_stac)
    elif Path(place).is_dir():
        raise ValueError(f"{place} is a folder; name its files, for example {place}/*.tif")
    else:
        yield SceneSource(str(Path(place).absolute()))


def _match(pattern: str, read_stac: StacReader) -> Iterator[SceneSource]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise ValueError(f"{pattern} matches no file")
    for match in matches:
        yield from _read_word(match, Path(), read_stac)
