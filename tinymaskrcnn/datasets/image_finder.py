"""Find the files that annotations name, even if the folders in the name are another machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from ..files import identity

BARE = "images found by their bare name alone"


class ImageFinder:
    """Searches some folders for images, in order.

    `bare` maps each name of which only the last part was found to its file: the rest of such a name
    belongs to another machine or is a server's address.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.bare: dict[str, Path] = {}
        self._files: dict[str, Path] = {}

    def find(self, name: str) -> Path | None:
        """The file with this name; None if there is none."""
        file = self._first(name) or self._first(name.replace("\\", "/"))
        if file is None:
            file = next(filter(None, map(self._first, bare_names(name))), None)
            if file is not None:
                self.bare[name] = file
        if file is not None:
            self._files[name] = file
        return file

    def ambiguous(self) -> dict[str, str]:
        """The bare names that do not clearly belong to one image, and why."""
        if not self.bare:
            return {}  # without a look at each file
        owners: dict[object, list[str]] = {}
        for name, file in self._files.items():
            owners.setdefault(identity(file), []).append(name)
        reasons = {}
        for name, file in self.bare.items():
            others = [other for other in owners[identity(file)] if other != name]
            files = {identity(f): f for f in self._all(file.name)}
            if others:
                reasons[name] = f"{file} could be {others[0]}, too"
            elif len(files) > 1:
                reasons[name] = f"could be {' or '.join(map(str, files.values()))}"
        return reasons

    def _first(self, name: str) -> Path | None:
        return next(self._all(name), None)

    def _all(self, name: str) -> Iterator[Path]:
        places = (folder / name for folder in self.folders if name)
        return filter(os.path.isfile, places)


def bare_names(name: str) -> list[str]:
    """What may be the file's own name in a path of any system, or in a URL."""
    last = name.replace("\\", "/").rpartition("/")[2]
    address, _, query = last.partition("?")
    names = [last, unquote(last), unquote(address), unquote(query.rpartition("=")[2])]
    return [last for name in names if (last := name.rpartition("/")[2])]
