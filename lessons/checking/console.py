"""`tinymaskrcnn learn`: show what comes next, and check answers.

Progress is read from the exercise files: a task is done when its answer there is right. Nothing
else is stored, and exercise files are never written to. Pictures of faults go to the clone's
runs/learn/.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from lessons import FOLDER
from tinymaskrcnn.errors import InputError

from .files import ExerciseFile, Topic, shown, topics
from .report import wrapped
from .runner import Result, check, check_all
from .task import KINDS, Task

PICTURES = FOLDER.parent / "runs" / "learn"
MARKS = {"done": "done", "wrong": "not right yet", "untouched": "not started"}


def overview() -> int:
    """Print every lesson with its tasks, and what comes next; return the exit status."""
    results, problems = progress()
    for topic in topics():
        print(f"{topic.number} {topic.name}   lessons/{topic.number}_{topic.name}.py")
        if topic.name in problems:
            print(f"   {problems[topic.name]}")
            continue
        for task in topic.tasks:
            print(f"   {task.name:<28} {task.kind:<10} {MARKS[results[task.name].status]}")
    print()
    print("\n".join([*_count_lines(results), *_next_lines(results, problems)]))
    return 0


def check_named(name: str) -> int:
    """Check a task, or a topic's tasks in order up to the first that is not done; return the exit
    status.

    Raises:
        InputError: there is no such task or topic, or its file is not Python.
    """
    topic, tasks = find(name)
    file = ExerciseFile(topic.file)
    for task in tasks:
        file.line(task.name)  # the function must be there
        result = check(topic, [task.name])[task.name]
        _print_result(topic, task, result, file)
        if result.status != "done":
            return 1
    results, problems = progress()
    here = sum(results[task.name].status == "done" for task in topic.tasks)
    print(f"{here} of {len(topic.tasks)} in this lesson.")
    print("\n".join([*_count_lines(results), *_next_lines(results, problems)]))
    return 0


def find(name: str) -> tuple[Topic, Sequence[Task]]:
    """The topic and the tasks that a name stands for, such as giou, boxes_iou, 06 or 06_boxes_iou.

    Raises:
        InputError: there is no such name; the message suggests the nearest ones.
    """
    known: dict[str, tuple[Topic, Sequence[Task]]] = {}
    for topic in topics():
        for key in (topic.name, topic.number, f"{topic.number}_{topic.name}"):
            known[key] = topic, topic.tasks
        known |= {task.name: (topic, [task]) for task in topic.tasks}
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.5) or [t.name for t in topics()]
        raise InputError(f"learn {name}: no such topic or task; did you mean {', '.join(near)}?")
    return known[name]


def progress() -> tuple[dict[str, Result], dict[str, str]]:
    """(all tasks' results by name, what is wrong with unreadable files by topic)."""
    results: dict[str, Result] = {}
    problems: dict[str, str] = {}
    jobs = []
    for topic in topics():
        try:
            file = ExerciseFile(topic.file)
            started = [task.name for task in topic.tasks if not file.is_untouched(task.name)]
        except InputError as problem:
            problems[topic.name], started = str(problem), []
        results |= {task.name: Result("untouched") for task in topic.tasks}
        if started:
            jobs.append((topic, started))
    return results | check_all(jobs), problems


def _print_result(topic: Topic, task: Task, result: Result, file: ExerciseFile) -> None:
    place = f"{shown(topic.file)}, line {file.line(task.name)}"
    picture = PICTURES / f"{task.name}.png"
    picture.unlink(missing_ok=True)
    if result.status == "done":
        print(f"{task.name}: right.")
        print("\n".join(wrapped(task.after, "  ") + wrapped(f"Read on: {task.link}", "  ")))
        return
    if result.status == "untouched":
        print(f"{task.name}: not written yet ({task.kind}, {KINDS[task.kind]}); {place}")
        return
    print(f"{task.name}: not right yet; {place}")
    print("\n".join(result.lines))
    if result.picture is not None:
        _write_picture(picture, result.picture)


def _write_picture(path: Path, picture: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    except OSError as problem:
        print(f"  (no picture: {problem})")
        return
    print(f"\n  Picture: {shown(path)}")


def _count_lines(results: dict[str, Result]) -> list[str]:
    done = sum(result.status == "done" for result in results.values())
    return [f"{done} of {len(results)} exercises done in all."]


def _next_lines(results: dict[str, Result], problems: dict[str, str]) -> list[str]:
    """Lines about the first task, in reading order, that is not done."""
    for topic in topics():
        for task in topic.tasks:
            if results[task.name].status != "done" and topic.name not in problems:
                line = ExerciseFile(topic.file).line(task.name)
                return [
                    f"Next: {task.name} ({task.kind}, {KINDS[task.kind]}), "
                    f"{shown(topic.file)}, line {line}",
                    f"      when it is written: tinymaskrcnn learn {task.name}",
                ]
    return [] if problems else ["All of them: the model is yours."]
