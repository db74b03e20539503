"""Which files can be read, and writing them whole or not at all, with errors that name them.

Not here: weight files, whose library writes them itself (weights/safetensors_files.py).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
    the new, which may come in pieces.

    Raises:
        OSError: as the system says (disk full, no permission), with the file's name; then nothing
            has changed.
    """
    partial = path.with_name(f"{path.name}.partial")
    with naming(path):
        try:
            with open(partial, "wb") as file:
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
