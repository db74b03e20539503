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
from math import inf
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..files import file_problem, naming, write_atomic
from .recipes import REPORTING

logger = logging.getLogger(__name__)
LOCK = "lock"
_OTHER_RANKS = (
    "%s: goes on with %d rank(s) after %d: batches, draws and steps are the same, but sums are "
    "rounded in another order, so the weights will not be, bit for bit, those of a run that kept "
    "its ranks"
)


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
            self._remove_leftovers()
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

    def _remove_leftovers(self) -> None:
        """What a killed run had begun to write; nobody else writes here while we have the lock."""
        for leftover in (*self.path.rglob("*.partial"), *self.path.glob(".model.*.tmp")):
            with naming(leftover):
                leftover.unlink()

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write settings.json; where there is one, see that it asks for the same weights.

        Raises:
            InputError: it does not; names what differs.
        """
        path = self.path / "settings.json"
        if path.exists():
            before = read_json(path)
            differing = _differences(before, settings)
            if differing:
                raise InputError(
                    f"{self.path}: cannot be resumed with other settings: {'; '.join(differing)}"
                )
            ranks = before.get("ranks", 1), settings.get("ranks", 1)
            if ranks[0] != ranks[1]:
                logger.warning(_OTHER_RANKS, self.path, ranks[1], ranks[0])
        self.write_json("settings.json", settings)

    def result(self) -> dict[str, Any] | None:
        """What a finished run reached, None while it is not finished."""
        path = self.path / "result.json"
        return read_json(path) if path.exists() else None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of this folder, whole or not at all."""
        write_atomic(self.path / name, (json.dumps(content, indent=2) + "\n").encode())


class NoFolder(RunFolder):
    """What ranks other than the first have for a RunFolder: nothing is read or written."""

    def __enter__(self) -> NoFolder:
        return self

    def settle(self, settings: Mapping[str, Any]) -> None:
        pass

    def result(self) -> None:
        return None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        pass


class RowLog:
    """A file of JSON lines, each a dict with the `step` it belongs to.

    Args:
        path: of the file. after: rows of later steps than this are cut off, and so is a line that a
            crash tore.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path, self._file = path, None  # type: Path, IO[bytes] | None
        if path.exists():
            _cut(path, after)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; the first makes the file."""
        with naming(self._path):
            self._file = self._file or self._path.open("ab", buffering=0)
            line = json.dumps(row).encode() + b"\n"
            while line:  # a disk that is almost full takes a part
                line = line[self._file.write(line) :]

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint never is ahead of its rows."""
        if self._file:
            with naming(self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            self._file.close()


class NoLog(RowLog):
    """What ranks other than the first have for a RowLog."""

    def __init__(self, path: Path, after: int) -> None:
        pass

    def append(self, row: Mapping[str, Any]) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a RowLog's file; none if there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError that names the file."""
    if why := file_problem(path):
        raise InputError(f"{path}: {why}")
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError, OSError) as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def _cut(path: Path, after: int) -> None:
    """Remove the rows of later steps, and what is none: a crash can leave half a row, or zeros."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _step(line) <= after]
    if len(kept) < len(lines):
        write_atomic(path, b"".join(kept))


def _step(line: bytes) -> float:
    """The step of a row, infinite where it is none."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else inf
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return inf


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Of all settings that decide the weights, as "lr is 0.01, was 0.02"."""
    before, now = _flat(old), _flat(json.loads(json.dumps(new)))
    free = (*REPORTING, "ranks")
    names = [n for n in now | before if n not in free and now.get(n) != before.get(n)]
    return [f"{name} is {now.get(name)}, was {before.get(name)}" for name in names]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    recipe = settings.get("recipe")
    own = {k: v for k, v in settings.items() if k != "recipe"}
    return own | recipe if isinstance(recipe, dict) else own
