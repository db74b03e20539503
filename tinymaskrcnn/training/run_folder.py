"""The folder of one training run: who may use it, its settings, metrics and result.

settings.json        recipe, model, classes
metrics.jsonl        one row a step; curve.png draws it
evaluations.jsonl    one row an evaluation on the way
samples/             predictions on the way, beside the truth
explain/             every stage of one picture at several moments; index.html scrubs through them
checkpoints/         see checkpoint.py
model.safetensors    the final weights, and result.json what they reach
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from .checkpoint import write_atomic
from .recipes import REPORTING

logger = logging.getLogger(__name__)
LOCK = "lock"


class RunFolder:
    """A run folder, locked while the context lasts. The lock is the kernel's: a killed run leaves
    none.

    Args:
        path: made if missing.
        resume: whether an earlier run in it is to be continued; a folder without one starts anew.

    Raises:
        InputError: the folder cannot be made, another process uses it, or it holds a run (or
            something else) and resume is False.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self.resume = path, resume
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / LOCK, "a")
        except OSError as problem:
            raise InputError(
                f"{self.path}: cannot be used as a run folder ({problem.strerror})"
            ) from problem
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._refuse_contents()
        except BlockingIOError:
            self._lock.close()
            raise InputError(f"{self.path}: another run is using this folder") from None
        except InputError:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock:
            self._lock.close()

    def _refuse_contents(self) -> None:
        if (self.path / "settings.json").exists():
            if not self.resume:
                raise InputError(
                    f"{self.path}: holds a run already; give --resume, or choose another folder"
                )
        elif others := [
            p.name for p in self.path.iterdir() if p.name != LOCK and p.suffix != ".partial"
        ]:
            raise InputError(
                f"{self.path}: not a run folder, it holds {sorted(others)[0]}; choose another"
            )

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write settings.json; where there is one, see that it asks for the same weights.

        Raises:
            InputError: it does not; names what differs.
        """
        path = self.path / "settings.json"
        if path.exists():
            differing = _differences(read_json(path), settings)
            if differing:
                raise InputError(
                    f"{self.path}: cannot be resumed with other settings: {'; '.join(differing)}"
                )
        self.write_json("settings.json", settings)

    def result(self) -> dict[str, Any] | None:
        """What a finished run reached, None while it is not finished."""
        path = self.path / "result.json"
        return read_json(path) if path.exists() else None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of this folder, whole or not at all."""
        write_atomic(self.path / name, (json.dumps(content, indent=2) + "\n").encode())


class RowLog:
    """A file of JSON lines, each a dict with the `step` it belongs to.

    Args:
        path: of the file. after: rows of later steps than this are cut off, and so is a line that a
            crash tore.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path, self._file = path, None  # type: Path, IO[str] | None
        if path.exists():
            _cut(path, after)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; the first makes the file."""
        self._file = self._file or self._path.open("a")
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint never is ahead of its rows."""
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            self._file.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a RowLog's file; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError that names the file."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def _cut(path: Path, after: int) -> None:
    """Truncate before the first line that is torn or of a later step."""
    kept = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not _whole(line) or json.loads(line)["step"] > after:
            break
        kept += len(line)
    os.truncate(path, kept)


def _whole(line: bytes) -> bool:
    """Whether a line is a JSON object with its end; a crash can leave half of one, or zeros."""
    return line.startswith(b"{") and line.endswith(b"}\n")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Of all settings that decide the weights, as "lr is 0.01, was 0.02"."""
    before, now = _flat(old), _flat(json.loads(json.dumps(new)))
    names = [n for n in now | before if n not in REPORTING and now.get(n) != before.get(n)]
    return [f"{name} is {now.get(name)}, was {before.get(name)}" for name in names]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    recipe = settings.get("recipe", {})
    return {k: v for k, v in settings.items() if k != "recipe"} | recipe
