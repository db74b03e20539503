"""The folder of one training run: who may use it, its settings, metrics and result.

settings.json        recipe, model, classes, hashes of the data and of the initial weights
metrics.jsonl        one row per step; curve.png draws it
evaluations.jsonl    one row per evaluation during training
samples/             predictions during training, beside the ground truth
explain/             every stage of one image at several moments; index.html has a slider over them
checkpoints/         see checkpoint.py
model.safetensors    the final weights; result.json holds their metrics and their hash
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..files import file_problem, naming, write_atomic
from .identity import hash_of
from .recipes import ADDED, RENAMED, REPORTING, SETTINGS

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
LOCK = "lock"
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_NOW = {"pictures": "images"}  # entries of settings.json that earlier versions called otherwise
# compared in another way than settings
_FREE = (*REPORTING, *RENAMED, "ranks", "data", "val_data", "start")
_OTHER_RANKS = (
    "%s: goes on with %s rank(s) after %s: batches, draws and steps are the same, but sums are "
    "rounded in another order, so the weights will differ in their last bits from those of a run "
    "that kept its ranks"
)


class RunFolder:
    """A run folder, locked in this context. The lock is the kernel's: a killed run leaves none.

    Args:
        path: made if missing.
        resume: whether to continue an earlier run in it; a folder without one starts anew.

    Raises:
        InputError: the folder cannot be made, another process uses it, or it holds a run (or
            something else) and resume is False.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self.resume = path, resume
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / LOCK, "ab")
        except OSError as problem:
            raise InputError(
                f"{self.path}: cannot be used as a run folder ({problem.strerror})"
            ) from problem
        try:
            with naming(self.path / LOCK):
                locked = _lock(self._lock)
            if not locked:
                raise InputError(f"{self.path}: another run is using this folder")
            self._refuse_contents()
            self._remove_leftovers()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock:
            _unlock(self._lock)
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
        """Remove what a killed run had begun to write; we hold the lock, so nobody writes here."""
        for leftover in self.path.rglob("*.partial"):
            with naming(leftover):
                leftover.unlink()

    def settle(self, settings: Mapping[str, Any]) -> str:
        """Write settings.json; if there is one, check that it asks for the same weights.

        Returns:
            The hash that identifies the run: of everything that decides its weights.

        Raises:
            InputError: it asks for other weights; names the differences.
        """
        path, settings = self.path / "settings.json", dict(settings)
        if path.exists():
            before = {_NOW.get(name, name): value for name, value in read_json(path).items()}
            differing = _differences(before, settings)
            if differing:
                raise InputError(
                    f"{self.path}: cannot be resumed with other settings: {'; '.join(differing)}"
                )
            ranks = before.get("ranks", 1), settings.get("ranks", 1)
            if ranks[0] != ranks[1]:
                logger.warning(_OTHER_RANKS, self.path, ranks[1], ranks[0])
            self._compare_data(before, settings)
            self._compare_start(before, settings)
        self.write_json("settings.json", settings)
        before = {now: name for name, now in _NOW.items()}  # hashes stay what they were
        decisive = {before.get(k, k): v for k, v in _flat(settings).items() if k not in _FREE}
        return hash_of([decisive, settings.get("data"), settings.get("start")])

    def _compare_data(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Check that the data sets are the same as before, as far as there are hashes of them."""
        unknown = [name for name in ("data", "start") if name in now and name not in before]
        if unknown:
            logger.warning(
                "%s: an earlier version began this run, without hashes: whether its annotations, "
                "images and initial weights are still the same cannot be checked",
                self.path,
            )
            return
        if changed := _changed(before.get("data"), now.get("data")):
            raise InputError(
                f"{self.path}: cannot be resumed: its training data are not those it began with "
                f"(other {' and '.join(changed)})"
            )
        if changed := _changed(before.get("val_data"), now.get("val_data")):
            logger.warning(
                "%s: the validation data are not those the run began with (other %s): earlier "
                "metrics belong to other data",
                self.path,
                " and ".join(changed),
            )

    def _compare_start(self, before: Mapping[str, Any], now: dict[str, Any]) -> None:
        """Store the hash of the weights the run began with. Other weights matter only if there is
        no checkpoint to go on from.
        """
        first = before.get("start", now.get("start"))
        if first != now.get("start") and not self.result_path.exists():
            if not any(self.checkpoints.glob("step-*.sha256")):
                raise InputError(
                    f"{self.path}: cannot be resumed: it has no checkpoint yet, and the weights to "
                    "start from are not those it began with; train in another folder"
                )
            logger.info(
                "%s: the weights to start from are not those the run began with; it goes on from "
                "its checkpoint",
                self.path,
            )
        now["start"] = first

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run; None if it is not finished. Raises InputError if the file
        holds something else.
        """
        if not self.result_path.exists():
            return None
        result = read_json(self.result_path)
        if wrong := _wrong_in(result):
            raise InputError(
                f"{self.result_path}: not the result of a training ({wrong}); without this file "
                "--resume writes it again from the last checkpoint"
            )
        return result

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of this folder, whole or not at all."""
        write_atomic(self.path / name, (json.dumps(content, indent=2) + "\n").encode())


class NoFolder(RunFolder):
    """Stands in for a RunFolder on every rank but the first: reads and writes nothing."""

    def __enter__(self) -> NoFolder:
        return self

    def settle(self, settings: Mapping[str, Any]) -> str:
        return ""

    def result(self) -> None:
        return None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        pass


class RowLog:
    """A file of JSON lines, each a dict with the `step` it belongs to.

    Args:
        path: of the file.
        after: rows of later steps are cut off, and so is a line that a crash left incomplete.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path, self._file = path, None  # type: Path, IO[bytes] | None
        if path.exists():
            _cut(path, after)
        self._digest = hashlib.sha256(path.read_bytes() if path.exists() else b"")

    @property
    def digest(self) -> str:
        """SHA-256 of all rows."""
        return self._digest.hexdigest()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; the first row creates the file."""
        with naming(self._path):
            self._file = self._file or self._path.open("ab", buffering=0)
            line = json.dumps(row).encode() + b"\n"
            self._digest.update(line)
            while line:  # a disk that is almost full takes only a part
                line = line[self._file.write(line) :]

    def sync(self) -> None:
        """Flush to the disk, so that a checkpoint is never ahead of its rows."""
        if self._file:
            with naming(self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            self._file.close()


class NoLog(RowLog):
    """Stands in for a RowLog on every rank but the first."""

    digest = ""

    def __init__(self, path: Path, after: int) -> None:
        pass

    def append(self, row: Mapping[str, Any]) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a RowLog's file, without invalid ones; no rows if there is no such file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if _step(line) < inf]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError that names the file."""
    if why := file_problem(path):
        raise InputError(f"{path}: {why}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; False if it is locked already."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)  # the lock covers the byte at the file's position
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except (BlockingIOError, PermissionError):  # how flock and msvcrt report it
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    """Unlock at once: Windows may keep a lock for a while after the file has been closed."""
    if not fcntl:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]


def _cut(path: Path, after: int) -> None:
    """Remove the rows of later steps and invalid ones: a crash can leave half a row, or zeros."""
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _step(line) <= after]
    if len(kept) < len(lines):
        write_atomic(path, b"".join(kept))


def _step(line: bytes) -> float:
    """The step of a row; infinity if it is not a row."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else inf
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return inf


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences in all settings that decide the weights, as "lr is 0.01, was 0.02"."""
    before, now = _flat(old), _flat(json.loads(json.dumps(new)))
    names = [n for n in now | before if n not in _FREE and now.get(n) != before.get(n)]
    return [f"{name} is {now.get(name)}, was {before.get(name)}" for name in names]


def _changed(before: Any, now: Any) -> list[str]:
    """Which of a data set's hashes have changed."""
    old, new = (part if isinstance(part, dict) else {} for part in (before, now))
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    return changed or ["data"] * (before != now)


def _wrong_in(result: Mapping[str, Any]) -> str | None:
    """What keeps a result from being one that `Trainer.run` returns; None if nothing does."""
    numbers: dict[str, Any] = {name: result.get(name) for name in ("steps", "seconds")}
    kinds = ("bbox", "segm") if "bbox" in result else ()
    for name in (*kinds, "per_class", "undefined"):
        if not isinstance(part := result.get(name, {}), dict):
            return f"{name} is {part!r}, expected an object"
    for kind in kinds:
        numbers |= {f"{kind} {name}": result.get(kind, {}).get(name) for name in FIGURES}
    for name, row in result.get("per_class", {}).items():
        own = row if isinstance(row, dict) else {}
        numbers |= {f"{kind}_AP of {name}": own.get(f"{kind}_AP") for kind in ("bbox", "segm")}
    for name, value in numbers.items():
        if type(value) not in (int, float) or not abs(value) < 1e300:  # not NaN either
            return f"{name} is {value!r}, expected a number"
    return None


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by name, without ADDED ones that have their defaults."""
    recipe = settings.get("recipe")
    own = {k: v for k, v in settings.items() if k != "recipe"}
    if not isinstance(recipe, dict):
        return own
    older = {k for k in ADDED if recipe.get(k) == SETTINGS[k].default}
    flat = own | {k: v for k, v in recipe.items() if k not in older}
    if isinstance(model := flat.get("model_settings"), dict):  # nothing is learnt from pasting
        flat["model_settings"] = {k: v for k, v in model.items() if k != "paste"}
    return flat
