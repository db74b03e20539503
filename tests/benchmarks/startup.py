"""How long a new process takes to predict or train, with compiled kernels and with an empty cache
(a separate folder); and whether two processes that fill one cache at once disturb each other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .case import Bound, Mismatch
from .harness import ROOT, Row, judged

BOUNDS = {
    "start-up: import and predict one picture, kernels compiled": Bound(3, 1.5),
    "start-up: the same, empty cache": Bound(60, 30),
    "start-up: train two steps, empty cache": Bound(120, 60),
    "start-up: two predict at once, one empty cache": Bound(120, 60),
}


def rows(names: list[str]) -> Iterator[Row]:
    """The requested rows among BOUNDS."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            seconds = MEASURES[name](Path(folder))
        bound = BOUNDS[name]
        yield {"name": name, "figure": seconds, "unit": "s"} | judged(seconds, bound, smaller=True)


def _predict(folder: Path, out: str, cache: Path | None) -> subprocess.Popen:
    picture = next(iter(sorted((ROOT / "data/shapes").glob("*.png"))))
    return _start(["predict", str(picture), "--json", "--out", str(folder / out)], cache)


def _start(arguments: list[str], cache: Path | None) -> subprocess.Popen:
    code = "import sys; from tinymaskrcnn.cli import main; sys.exit(main(sys.argv[1:]))"
    environment: dict[str, Any] = dict(os.environ)
    if cache:
        environment["TINYMASKRCNN_CACHE"] = str(cache)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _seconds(*arguments: Any, start: Any = _predict) -> float:
    before = time.perf_counter()
    _finish(start(*arguments))
    return time.perf_counter() - before


def _finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args}: status {process.returncode}: {errors[-2000:]}")


def _warm(folder: Path) -> float:
    _seconds(folder, "first", None)
    return min(_seconds(folder, str(i), None) for i in range(3))


def _cold(folder: Path) -> float:
    return _seconds(folder, "out", folder / "cache")


def _training(folder: Path) -> float:
    arguments = ["train", "--steps", "2", "--set", "eval_images=2", "--out", str(folder / "run")]
    return _seconds(arguments, folder / "cache", start=_start)


def _two(folder: Path) -> float:
    """Both must succeed, print the same, and leave a cache that a third process can use."""
    before, cache = time.perf_counter(), folder / "cache"
    for process in [_predict(folder, out, cache) for out in ("a", "b")]:
        _finish(process)
    seconds = time.perf_counter() - before
    _seconds(folder, "c", cache)
    found = {(folder / out / "predictions.json").read_text() for out in ("a", "b", "c")}
    if len(found) != 1:
        raise Mismatch("predictions differ between processes that shared an empty cache")
    return seconds


MEASURES = dict(zip(BOUNDS, (_warm, _cold, _training, _two), strict=True))
