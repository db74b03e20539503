"""`tinymaskrcnn learn --watch`: check again whenever an exercise file is saved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep

from tinymaskrcnn.errors import InputError

from .console import check_named, find, next_task
from .files import Topic, shown, topics

SECONDS = 0.3  # between two looks at the files
CLEAR = "\x1b[2J\x1b[3J\x1b[H"
State = tuple[int, int, int] | None


def watch(name: str | None) -> int:
    """Check a task or a topic now, and again after each save, until Ctrl-C; return the exit status.

    Args:
        name: of a task or a topic. None: the topic of the next task; then of the file last saved.

    Raises:
        InputError: there is no such task or topic.
    """
    if name is not None:
        topic, _ = find(name)
        watched = {topic.file: name}
    else:
        watched = {topic.file: topic.name for topic in topics()}
        topic = _next_topic()
    try:
        _show(name or topic.name, topic.file)
        for path in saves(list(watched)):
            _show(watched[path], path)
    except KeyboardInterrupt:
        print()
    return 0


def _next_topic() -> Topic:
    found = next_task()
    return found[0] if found else topics()[0]


def _show(name: str, path: Path) -> None:
    if sys.stdout.isatty():
        print(CLEAR, end="")
    try:
        check_named(name)
    except InputError as problem:  # the file is not Python at this moment
        print(problem)
    print(f"\nWatching {shown(path)}: save it to check again, Ctrl-C to leave.", flush=True)


def saves(paths: list[Path]) -> Iterator[Path]:
    """Each path whenever it has been saved. A file that an editor replaces by another may be
    missing for a moment.
    """
    before = {path: _state(path) for path in paths}
    while True:
        sleep(SECONDS)
        for path in paths:
            now = _state(path)
            if now is not None and now != before[path]:
                before[path] = now
                yield path


def _state(path: Path) -> State:
    """What changes when a file is saved; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
