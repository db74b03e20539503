"""Where a command's results go, checked before the work as far as can be told."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError


def output_folder(option: str, name: str) -> Path:
    """The folder, made if missing. Raises InputError if it cannot be."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"{option} {name}: {problem.strerror}") from problem
    return path


def output_file(option: str, name: str) -> Path:
    """The file. Raises InputError if its folder does not exist, or if it is a folder itself."""
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{option} {name}: this is a folder, expected the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{option} {name}: there is no folder {path.parent}")
    return path
