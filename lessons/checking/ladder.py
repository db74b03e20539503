"""Three hints for each task, one after another; how far a learner has come is kept in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from lessons import FOLDER
from tinymaskrcnn.files import write_atomic

from .files import ExerciseFile, Topic, shown
from .report import wrapped
from .task import Task

STATE = FOLDER.parent / "runs" / "learn" / "hints.json"
OFFER = "Stuck? tinymaskrcnn learn {} --hint"


@dataclass
class Rung:
    """How far down its hints a task is.

    Args:
        shown: how many of them the learner has seen.
        answer: a digest of the answer that failed last.
    """

    shown: int = 0
    answer: str = ""


def asked(topic: Topic, task: Task) -> list[str]:
    """Lines with the hints so far and one more."""
    rungs = _read()
    rung = rungs.setdefault(task.name, Rung())
    rung.shown = min(rung.shown + 1, len(task.hints))
    note = _write(rungs)
    lines = [line for i in range(rung.shown) for line in _hint_lines(task, i)]
    return lines + _last_lines(topic, task, rung) + note


def failed(topic: Topic, task: Task, is_named: bool) -> list[str]:
    """Lines with one more hint, because an answer failed; the same one again if it is the same
    answer as before.

    Args:
        topic, task: what was checked.
        is_named: whether its mistake has been named, which is better than any hint: none is added.
    """
    if is_named:
        return [f"  {OFFER.format(task.name)}"]
    rungs = _read()
    rung = rungs.setdefault(task.name, Rung())
    answer = _digest(topic, task)
    if answer != rung.answer:
        rung.shown, rung.answer = min(rung.shown + 1, len(task.hints)), answer
    note = _write(rungs)
    return [*_hint_lines(task, max(rung.shown - 1, 0)), *_last_lines(topic, task, rung), *note]


def solved(task: Task) -> None:
    """The answer is right: its hints start from the first again."""
    rungs = _read()
    if rungs.pop(task.name, None):
        _write(rungs)


def _hint_lines(task: Task, index: int) -> list[str]:
    return wrapped(f"Hint {index + 1} of {len(task.hints)}: {task.hints[index]}", "  ")


def _last_lines(topic: Topic, task: Task, rung: Rung) -> list[str]:
    if rung.shown < len(task.hints):
        return [f"  One more: tinymaskrcnn learn {task.name} --hint"]
    path = FOLDER / "solutions" / f"{topic.number}_{topic.name}.py"
    return [f"  An answer stands in {shown(path)}, line {ExerciseFile(path).line(task.name)}."]


def _digest(topic: Topic, task: Task) -> str:
    source = ExerciseFile(topic.file).source(task.name)
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _read() -> dict[str, Rung]:
    """Each task's rung; none where the file is missing or is not ours: hints then start again."""
    try:
        content = json.loads(STATE.read_text(encoding="utf-8"))
        return {name: Rung(int(row["shown"]), str(row["answer"])) for name, row in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(rungs: dict[str, Rung]) -> list[str]:
    """Keep the rungs; lines that say so if that fails."""
    content = {name: vars(rung) for name, rung in sorted(rungs.items())}
    try:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(STATE, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as problem:
        return [f"  (which hints you have seen is not kept: {problem})"]
    return []
