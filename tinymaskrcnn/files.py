"""Check that a file can be read; write a file whole or not at all; never overwrite what a user
would miss. Every error names the file.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Container, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from PIL import Image

SOFTWARE = 0x0131  # the EXIF tag
ENDS = 1 << 16  # bytes at the beginning and at the end of a file in which to look for the mark


def mark(command: str) -> str:
    """The words that tell a later run that this command wrote a file."""
    return f"written by tinymaskrcnn {command}"


def check_output(
    path: Path, inputs: Container[Hashable], mark: str | None, force: bool = False
) -> None:
    """Refuse to write a file if that would destroy something.

    Args:
        path: the file to write.
        inputs: `identities` of all files that the command reads; even `force` does not replace
            these.
        mark: text that identifies a file which this command may replace; None: it may replace none.
        force: replace other files too.

    Raises:
        InputError: the path is a folder, a device or one of the inputs, by whatever name; or,
            without `force`, a file that does not contain the mark.
    """
    try:
        found = path.stat()
    except OSError:  # it does not exist, or is a link that leads nowhere
        return
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a file"
        raise InputError(f"{path}: this is {kind}, expected the name of a file to write")
    if identity(path) in inputs:
        raise InputError(f"{path}: this is one of the inputs and would be overwritten")
    if force:
        return
    if mark is None:
        raise InputError(f"{path}: this file exists already; --force replaces it")
    if mark.encode() not in (content := _ends(path)) and content.strip() not in (b"", b"[]"):
        raise InputError(f"{path}: this command did not write that file; --force replaces it")


def identities(paths: Iterable[Path]) -> set[Hashable]:
    """The `identity` of each of these files that exists."""
    return {identity(path) for path in paths} - {None}


def identity(path: Path) -> Hashable:
    """A value that differs for every file, but is the same for all links to one and all spellings
    of its name; None if there is no file.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if found.st_ino == 0:  # on some network drives
        return os.path.normcase(os.path.realpath(path))
    return found.st_dev, found.st_ino


def _ends(path: Path) -> bytes:
    """The first and the last bytes of a file."""
    with naming(path), open(path, "rb") as file:
        first = file.read(ENDS)
        file.seek(max(file.seek(0, os.SEEK_END) - ENDS, len(first)))
        return first + file.read(ENDS)


def write_image(path: Path, image: Image.Image, mark: str, **settings: Any) -> None:
    """Write an image, whole or not at all, in the format that its name gives.

    Args:
        path: the file to write.
        image: the image.
        mark: text to put into its EXIF data (see `check_output`).
        settings: options of Pillow's `save`.
    """
    buffer = io.BytesIO()
    buffer.name = path.name
    exif = image.getexif()
    exif[SOFTWARE] = mark
    image.save(buffer, exif=exif, **settings)
    write_atomic(path, buffer.getvalue())


def file_problem(path: Path) -> str | None:
    """Why a path cannot be read as a file; None if it can. Reading a pipe or a device may take for
    ever, so those are refused.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte in a name
        return "no such file"
    except OSError as problem:
        return f"cannot read the file: {problem.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    return None if status.st_size else "the file is empty"


def write_atomic(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that, whatever happens, `path` holds either all of the old content or all of
    the new. If the file has several names (hard links), only this name gets the new content.

    Args:
        path: the file to write.
        content: its bytes, whole or in pieces.

    Raises:
        OSError: as the system reports it (disk full, no permission), with the file's name; then
            nothing has changed.
    """
    with replacing(path) as partial, open(partial, "wb") as file:
        for piece in (content,) if isinstance(content, bytes) else content:
            file.write(piece)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new, empty file, which takes the place of `path` when this context ends without an
    error.

    Raises:
        OSError: as `write_atomic` does.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    with naming(path):
        try:
            open(partial, "xb").close()
            yield partial
            with open(partial, "r+b") as file:  # Windows flushes none that is open for reading only
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within this context, every OSError names this file: when a write fails, as on a full disk,
    the system does not say which file it was.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno is None:
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from problem


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: a file's name is part of the folder's data. Do nothing if the folder
    cannot be opened (on Windows, or without permission to list it) or flushed (on some network
    disks): then the system alone decides when a rename reaches the disk.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
