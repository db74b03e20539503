"""The process in which a learner's answers run: `python -m lessons.checking.worker TOPIC FOLDER
SECONDS TASK...`.

Writes one JSON line per task to FOLDER/results.jsonl. If a call takes longer than SECONDS, one of
the interpreter's own threads ends the process, so that even an endless loop cannot prevent it. Then
FOLDER/where.txt says where it was, and FOLDER/call.txt which arguments it had.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .examine import Arguments, Fault, NotWritten, Verdict, examine
from .files import ExerciseFile, Topic, topics
from .report import argument_lines, verdict_lines
from .task import Task


def main(topic_name: str, folder: str, seconds: str, *names: str) -> None:
    topic = next(topic for topic in topics() if topic.name == topic_name)
    watch = _Watch(Path(folder), float(seconds))
    checked = Checked(topic, watch)
    with open(Path(folder) / "results.jsonl", "a", encoding="utf-8") as results:
        for name in names:
            results.write(json.dumps({"task": name, **checked.result(name, Path(folder))}) + "\n")
            results.flush()


class _Watch:
    """Ends the process if a call takes too long."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.seconds = seconds
        self.call = folder / "call.txt"
        self.where = open(folder / "where.txt", "w", encoding="utf-8")  # noqa: SIM115 open to the end
        self.names: list[str] = []

    @contextlib.contextmanager
    def __call__(self, arguments: Arguments) -> Iterator[None]:
        self.call.write_text("\n".join(argument_lines(self.names, arguments)), encoding="utf-8")
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=self.where)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class Checked:
    """A topic's answers, loaded once."""

    def __init__(self, topic: Topic, watch: _Watch) -> None:
        self.topic, self.watch, self.problem = topic, watch, ""
        self.file = ExerciseFile(topic.file)
        try:
            with watch(()):
                self.module = loaded(topic.file)
        except Exception as problem:
            frames = traceback.extract_tb(problem.__traceback__)
            lines = [f.lineno for f in frames if f.filename == str(topic.file)]
            place = f"line {lines[-1]}: " if lines else ""
            self.problem = f"{place}{type(problem).__name__}: {problem}"

    def result(self, name: str, folder: Path) -> dict[str, Any]:
        """status: "done", "untouched" or "wrong"; if wrong, also the other fields of `Result`, with
        a picture's path.
        """
        if self.problem:
            return _wrong([f"  the file cannot be run: {self.problem}"]) | {"is_named": True}
        task = self.topic.task(name)
        if self.file.is_untouched(name):
            return {"status": "untouched"}
        if task.kind == "vectorise" and (loop := self.file.loop(name)):
            line, what = loop
            return _wrong([f"  line {line}: {what}; this task wants whole arrays at once"])
        return self._examined(task, folder)

    def _examined(self, task: Task, folder: Path) -> dict[str, Any]:
        answer = getattr(self.module, task.name)
        self.watch.names = list(inspect.signature(answer).parameters)
        try:
            verdict = examine(task, answer, self.watch)
        except NotWritten:
            return {"status": "untouched"}
        if verdict.fault is None:
            return {"status": "done"}
        lines = verdict_lines(task, self.watch.names, verdict)
        named = bool(verdict.hint) and verdict.certain
        picture = _picture(task, verdict, verdict.fault, folder)
        return _wrong(lines) | {"is_named": named, "picture": picture}


def _wrong(lines: list[str]) -> dict[str, Any]:
    return {"status": "wrong", "lines": lines}


def _picture(task: Task, verdict: Verdict, fault: Fault, folder: Path) -> str | None:
    """Write the task's picture of the fault to the folder; None if the result cannot be drawn."""
    if task.picture is None or not fault.has_got:
        return None
    try:
        picture = task.picture(fault.arguments, fault.expected, fault.got)
    except Exception:
        return None
    if picture is None:
        return None
    path = folder / f"{task.name}.png"
    picture.save(path)
    return str(path)


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"answers_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:])
