"""`tinymaskrcnn learn`: show what comes next, and check answers.

Progress is read from the exercise files: a task is done when its answer there is right. Exercise
files are never written to. Pictures of faults, and which hints have been seen, go to the clone's
runs/learn/.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from lessons import FOLDER
from tinymaskrcnn.errors import InputError

from . import ladder
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
        ladder.solved(task)
    results, problems = progress()
    here = sum(results[task.name].status == "done" for task in topic.tasks)
    print(f"{here} of {len(topic.tasks)} in this lesson.")
    print("\n".join([*_count_lines(results), *_next_lines(results, problems, tasks[-1])]))
    return 0


def hint(name: str | None) -> int:
    """Print one more hint of a task, of a topic's next task or, without a name, of the next of all;
    return the exit status.

    Raises:
        InputError: there is no such task or topic, or its file is not Python.
    """
    if name is None:
        found = next_task()
    else:
        topic, tasks = find(name)
        ExerciseFile(topic.file)
        found = (topic, tasks[0]) if len(tasks) == 1 else _first_open(topic)
    if found is None:
        print("Nothing is left to hint at: these answers are right.")
        return 0
    topic, task = found
    print(f"{task.name}: {shown(topic.file)}, line {ExerciseFile(topic.file).line(task.name)}")
    print("\n".join(ladder.asked(topic, task)))
    return 0


def _first_open(topic: Topic) -> tuple[Topic, Task] | None:
    results = check(topic, [task.name for task in topic.tasks])
    return next(((topic, t) for t in topic.tasks if results[t.name].status != "done"), None)


def next_task() -> tuple[Topic, Task] | None:
    """The first task, in reading order, that is not done."""
    return _following(*progress(), None)


def find(name: str) -> tuple[Topic, Sequence[Task]]:
    """The topic and the tasks that a name stands for, such as giou, boxes_iou, 06, 6 or
    lessons/06_boxes_iou.py.

    Raises:
        InputError: there is no such name; the message suggests the nearest ones.
    """
    known: dict[str, tuple[Topic, Sequence[Task]]] = {}
    for topic in topics():
        for key in (topic.name, topic.number, f"{topic.number}_{topic.name}"):
            known[key] = topic, topic.tasks
        known |= {task.name: (topic, [task]) for task in topic.tasks}
    meant = Path(name).name.removesuffix(".py").removeprefix("lesson").lstrip("_ ")
    meant = f"0{meant}" if meant[:1].isdigit() and not meant[1:2].isdigit() else meant
    if meant not in known:
        near = difflib.get_close_matches(meant, known, 3, 0.5) or [t.name for t in topics()]
        raise InputError(f"learn {name}: no such topic or task; did you mean {', '.join(near)}?")
    return known[meant]


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
        print(f"  {ladder.OFFER.format(task.name)}")
        return
    print(f"{task.name}: not right yet; {place}")
    print("\n".join([*result.lines, "", *ladder.failed(topic, task, result.is_named)]))
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


def _next_lines(
    results: dict[str, Result], problems: dict[str, str], after: Task | None = None
) -> list[str]:
    """Lines about the next task that is not done."""
    found = _following(results, problems, after)
    if found is None:
        return [] if problems else ["All of them: the model is yours."]
    topic, task = found
    return [
        f"Next: {task.name} ({task.kind}, {KINDS[task.kind]}), "
        f"{shown(topic.file)}, line {ExerciseFile(topic.file).line(task.name)}",
        f"      when it is written: tinymaskrcnn learn {task.name}",
    ]


def _following(
    results: dict[str, Result], problems: dict[str, str], after: Task | None
) -> tuple[Topic, Task] | None:
    """The next task that is not done: of the lesson of `after`, then of the lessons that follow it,
    then of those before it; None if there is none. Without `after`, the first of all.
    """
    order = [(topic, task) for topic in topics() for task in topic.tasks]
    if after is not None:
        place = next(i for i, (_, task) in enumerate(order) if task.name == after.name)
        here = order[place][0]
        order = order[place + 1 :] + order[: place + 1]
        order.sort(key=lambda pair: pair[0] != here)  # stable: the lesson's own come first
    for topic, task in order:
        if results[task.name].status != "done" and topic.name not in problems:
            return topic, task
    return None
