"""Check answers in separate processes, so that none can hang or end the command. A browser has no
processes; there they are checked in this one, which the page can stop.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lessons import FOLDER

from .files import Topic, shown
from .worker import Checked, Unwatched

SECONDS = 10.0  # the most that one call of an answer may take; right ones take milliseconds


@dataclass(frozen=True)
class Result:
    """The result of checking one task.

    Args:
        status: "done", "untouched" or "wrong".
        lines: what is wrong.
        is_named: whether the lines say which mistake it is.
        picture: a picture of the fault, as PNG bytes.
    """

    status: str
    lines: list[str] = field(default_factory=list)
    is_named: bool = False
    picture: bytes | None = None


def check(topic: Topic, names: Sequence[str], seconds: float = SECONDS) -> dict[str, Result]:
    """Check some of a topic's tasks; results by name."""
    if sys.platform == "emscripten":
        return _check_here(topic, names)
    results: dict[str, Result] = {}
    while remaining := [name for name in names if name not in results]:
        with tempfile.TemporaryDirectory() as folder:
            results |= _run(topic, remaining, Path(folder), seconds)
    return results


def check_all(jobs: Sequence[tuple[Topic, Sequence[str]]]) -> dict[str, Result]:
    """Check tasks of several topics, as many topics at a time as there are processors."""
    if sys.platform == "emscripten":
        return {name: result for job in jobs for name, result in check(*job).items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda job: check(*job), jobs)
        return {name: result for part in parts for name, result in part.items()}


def _check_here(topic: Topic, names: Sequence[str]) -> dict[str, Result]:
    """Check in this process; what the file prints is dropped, as in the others."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        checked = Checked(topic, Unwatched())
        return {name: _result(checked.result(name, Path(folder))) for name in names}


def _run(topic: Topic, names: Sequence[str], folder: Path, seconds: float) -> dict[str, Result]:
    """Run the worker; results up to the first answer that ends its process, at least one."""
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    call = [sys.executable, "-P", "-m", "lessons.checking.worker"]
    process = subprocess.run(
        [*call, topic.name, str(folder), str(seconds), *names],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    file = folder / "results.jsonl"
    rows = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    results = {row["task"]: _result(row) for row in map(json.loads, rows)}
    if process.returncode and len(results) < len(names):
        stopped = next(name for name in names if name not in results)
        results[stopped] = Result("wrong", _ended(topic, folder, process, seconds))
    return results


def _result(row: dict) -> Result:
    picture = row.get("picture")
    content = Path(picture).read_bytes() if picture else None
    return Result(row["status"], row.get("lines", []), row.get("is_named", False), content)


def _ended(
    topic: Topic, folder: Path, process: subprocess.CompletedProcess[str], seconds: float
) -> list[str]:
    """Say why the process ended early: the time limit stopped it, or the answer did."""
    call, where = folder / "call.txt", folder / "where.txt"
    trace = where.read_text(encoding="utf-8") if where.exists() else ""
    if not trace:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"  its process ended with status {process.returncode}: {last}"]
    place = re.search(rf'"[^"]*{re.escape(topic.file.name)}", line (\d+)', trace)
    line = f", in line {place[1]} of {shown(topic.file)}" if place else ""
    arguments = call.read_text(encoding="utf-8").splitlines() if call.exists() else []
    return [
        f"  it was still running after {seconds:g} seconds{line}: does the loop end?",
        *(["  for", *arguments] if arguments else []),
    ]
