"""The files of `predict --format`. What belongs into one file for all images is kept on disk until
the end, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import pickle
import tempfile
from collections import deque
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..exports import FORMATS, FilePerImage, OneFile, PredictedImage, Source
from ..files import check_output, naming, write_atomic
from ..training.distributed import Group
from .options import output_folder


class Outputs:
    """The files that the chosen formats write.

    Args:
        names: of the formats.
        inputs: all images, of all ranks.
        out: the folder of the results.
        paths: gives a path per image, from a folder and the end of the file's name.
        read: `identities` of all files that are read; none of them is replaced.
        force: whether to replace other files.
    """

    def __init__(
        self,
        names: Sequence[str],
        inputs: Sequence[Source],
        out: Path,
        paths: Callable[[Path, str], list[Path]],
        read: Container[Hashable],
        force: bool,
    ) -> None:
        self.inputs, self.out, self.read, self.force = inputs, out, read, force
        formats = [FORMATS[name] for name in names]
        self.joint = [format for format in formats if isinstance(format, OneFile)]
        self.single = [format for format in formats if isinstance(format, FilePerImage)]
        lists = [paths(out / format.folder, format.suffix) for format in self.single]
        self.paths = dict(zip(inputs, zip(*lists, strict=True), strict=True)) if lists else {}
        self.spool = Spool(out) if self.joint else None

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *error: object) -> None:
        if self.spool is not None:
            self.spool.__exit__()

    def prepare(self, classes: Sequence[str], group: Group) -> None:
        """Make the folders, and check and write what does not depend on images."""
        for joint in self.joint:
            check_output(self.out / joint.name, self.read, joint.mark, self.force)
        for single in self.single:
            folder = output_folder("--out", str(self.out / single.folder))
            if single.beside is not None and group.leads:
                name, content = single.beside(classes)
                path = folder / name
                if not path.exists() or path.read_bytes() != content:
                    self._write(path, content, None)

    def check(self, source: Source) -> None:
        """Raise InputError if a file of this image may not be written."""
        for format, path in zip(self.single, self.paths.get(source, ()), strict=True):
            check_output(path, self.read, format.mark, self.force)

    def add(self, found: PredictedImage) -> None:
        """Write the files of an image, and keep its part of the others."""
        for format, path in zip(self.single, self.paths.get(found.source, ()), strict=True):
            if format.crowded and len(found) > format.crowded[0]:
                path = path.with_suffix(format.crowded[1])
            self._write(path, format.content(found, path), format.mark)
        if self.spool is not None:
            self.spool.add([joint.part(found) for joint in self.joint])

    def skip(self) -> None:
        """An image could not be used."""
        if self.spool is not None:
            self.spool.add(None)

    def finish(self, classes: Sequence[str], group: Group) -> None:
        """Write the files for all images. All ranks must call it."""
        for place, joint in enumerate(self.joint):
            assert self.spool is not None
            kept = in_order(self.spool, len(self.inputs), group)
            parts = (parts and parts[place] for parts in kept)
            content = joint.pieces(self.inputs, parts, classes)
            if group.leads:
                write_atomic(self.out / joint.name, content)
            deque(content, maxlen=0)  # the other ranks only hand over what they have

    def places(self) -> list[str]:
        """Where the files are, for people."""
        names = [f.folder for f in self.single] + [f.name for f in self.joint]
        return [str(self.out / name) for name in dict.fromkeys(names)]

    def _write(self, path: Path, content: bytes, mark: str | None) -> None:
        check_output(path, self.read, mark, self.force)
        write_atomic(path, content)


class Spool:
    """What one process keeps of its images, in their order. It is in a file without a name, which
    disappears with the process, however that ends.

    Args:
        folder: of the file; an OSError, such as a full disk, names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with naming(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, content: Any) -> None:
        """None stands for an image that could not be used."""
        with naming(self.folder):
            pickle.dump(content, self._file)

    def __iter__(self) -> Iterator[Any]:
        with naming(self.folder):
            self._file.seek(0)  # writes out what is still in memory
        with suppress(EOFError):
            while True:
                yield pickle.load(self._file)


def in_order(spool: Spool, total: int, group: Group) -> Iterator[Any]:
    """What was kept of all `total` images; rank i % size has image i. All ranks must iterate."""
    own = iter(spool)
    for start in range(0, total, group.size):
        yield from group.gathered(next(own, None))[: total - start]
