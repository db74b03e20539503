"""Which files can be read, and writing them whole or not at all, with errors that name them, and
never over what a person would miss.

Not here: weight files, whose library writes them itself (weights/safetensors_files.py).
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
ENDS = 1 << 16  # bytes at the beginning and the end of a file, where its mark is


def mark(command: str) -> str:
    """The words in a file by which a later run knows that this command wrote it."""
    return f"written by tinymaskrcnn {command}"


def check_output(
    path: Path, inputs: Container[Hashable], mark: str | None, force: bool = False
) -> None:
    """Refuse to write a file where something would be lost.

    - `inputs`: `identities` of all that the command reads; `force` does not reach them.
    - `mark`: what a file of the same kind holds, which may be replaced; None if there is no such.

    Raises InputError where there is a folder, a device, one of the inputs by whatever name, or,
    without `force`, a file that does not hold the mark.
    """
    try:
        found = path.stat()
    except OSError:  # nothing is there, or a link that leads nowhere
        return
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a file"
        raise InputError(f"{path}: this is {kind}, expected the name of a file to write")
    if identity(path) in inputs:
        raise InputError(f"{path}: this is one of the inputs, and would be written over")
    if force:
        return
    if mark is None:
        raise InputError(f"{path}: there is such a file; --force replaces it")
    if mark.encode() not in (content := _ends(path)) and content.strip() not in (b"", b"[]"):
        raise InputError(f"{path}: this command did not write that file; --force replaces it")


def identities(paths: Iterable[Path]) -> set[Hashable]:
    """What tells each of these files from all others; those that are not there have none."""
    return {identity(path) for path in paths} - {None}


def identity(path: Path) -> Hashable:
    """What tells a file from all others, the same for every link to it and spelling of its name;
    None where there is no file.
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


def write_picture(path: Path, picture: Image.Image, mark: str, **settings: Any) -> None:
    """Write a picture, whole or not at all, in the format that its name says.

    - `mark`: kept in its EXIF part. `settings`: of Pillow's `save`.
    """
    buffer = io.BytesIO()
    buffer.name = path.name
    exif = picture.getexif()
    exif[SOFTWARE] = mark
    picture.save(buffer, exif=exif, **settings)
    write_atomic(path, buffer.getvalue())


def file_problem(path: Path) -> str | None:
    """Why a file cannot be read as one, None where it can: to read a pipe or a device may take for
    ever.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # no file has a null byte in it
        return "no such file"
    except OSError as problem:
        return f"cannot read the file: {problem.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    return None if status.st_size else "the file is empty"


def write_atomic(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that, whatever happens, `path` holds either all of the old content or all of
    the new, which may come in pieces. Of a file with several names (hard links) only this one is
    given the new content.

    Raises:
        OSError: as the system says (disk full, no permission), with the file's name; then nothing
            has changed.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    with naming(path):
        try:
            with open(partial, "xb") as file:
                for piece in (content,) if isinstance(content, bytes) else content:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within this context an OSError names this file: where a write fails, as on a full disk, the
    system does not say of which.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno is None:
            raise
        raise OSError(problem.errno, problem.strerror, str(path)) from problem


def sync_folder(folder: Path) -> None:
    """Make a rename durable: the folder's entry is data of the folder. Does nothing where a folder
    cannot be opened (on Windows, or without the right to list it) or flushed (on some network
    disks): there the system alone decides when a rename is on the disk.
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
